#include "tap.h"

#include <array>
#include <cstddef>

#include <structmember.h>

namespace wheeltapper::python {
namespace {

namespace nb = nanobind;

struct Tap {
  PyObject ob_base;
  PyObject* original;
  PyObject* before;
  PyObject* after;
  PyObject* dict;
};

Tap* AsTap(PyObject* self) { return reinterpret_cast<Tap*>(self); }

// Calls after(result, *args, **kwargs) and drops what it returns; false with an error set.
bool CallAfter(PyObject* after, PyObject* result, PyObject* args, PyObject* kwargs) {
  const Py_ssize_t count = PyTuple_GET_SIZE(args);
  PyObject* extended = PyTuple_New(count + 1);
  if (extended == nullptr) {
    return false;
  }
  PyTuple_SET_ITEM(extended, 0, Py_NewRef(result));
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyTuple_SET_ITEM(extended, i + 1, Py_NewRef(PyTuple_GET_ITEM(args, i)));
  }
  PyObject* returned = PyObject_Call(after, extended, kwargs);
  Py_DECREF(extended);
  Py_XDECREF(returned);
  return returned != nullptr;
}

PyObject* TapCall(PyObject* self, PyObject* args, PyObject* kwargs) {
  Tap* tap = AsTap(self);
  if (tap->before != Py_None) {
    PyObject* returned = PyObject_Call(tap->before, args, kwargs);
    if (returned == nullptr) {
      return nullptr;
    }
    Py_DECREF(returned);
  }
  PyObject* result = PyObject_Call(tap->original, args, kwargs);
  if (result != nullptr && tap->after != Py_None && !CallAfter(tap->after, result, args, kwargs)) {
    Py_CLEAR(result);
  }
  return result;
}

PyObject* TapBind(PyObject* self, PyObject* instance, PyObject* /*owner*/) {
  return instance == nullptr || instance == Py_None ? Py_NewRef(self)
                                                    : PyMethod_New(self, instance);
}

int TapTraverse(PyObject* self, visitproc visit, void* arg) {
  Tap* tap = AsTap(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(tap->original);
  Py_VISIT(tap->before);
  Py_VISIT(tap->after);
  Py_VISIT(tap->dict);
  return 0;
}

int TapClear(PyObject* self) {
  Tap* tap = AsTap(self);
  Py_CLEAR(tap->original);
  Py_CLEAR(tap->before);
  Py_CLEAR(tap->after);
  Py_CLEAR(tap->dict);
  return 0;
}

void TapFree(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  TapClear(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* TapRepr(PyObject* self) { return PyObject_Repr(AsTap(self)->original); }

// Pickles by reference, as the function it stands for.
PyObject* TapReduce(PyObject* self, PyObject* /*unused*/) {
  return PyObject_GetAttrString(self, "__qualname__");
}

PyTypeObject* MakeTapType() {
  static std::array<PyMemberDef, 2> members = {
      PyMemberDef{"__dictoffset__", T_PYSSIZET, offsetof(Tap, dict), READONLY, nullptr},
      PyMemberDef{nullptr, 0, 0, 0, nullptr}};
  static std::array<PyMethodDef, 2> methods = {
      PyMethodDef{"__reduce__", &TapReduce, METH_NOARGS, nullptr},
      PyMethodDef{nullptr, nullptr, 0, nullptr}};
  static std::array<PyType_Slot, 10> slots = {
      PyType_Slot{Py_tp_call, reinterpret_cast<void*>(&TapCall)},
      PyType_Slot{Py_tp_descr_get, reinterpret_cast<void*>(&TapBind)},
      PyType_Slot{Py_tp_traverse, reinterpret_cast<void*>(&TapTraverse)},
      PyType_Slot{Py_tp_clear, reinterpret_cast<void*>(&TapClear)},
      PyType_Slot{Py_tp_dealloc, reinterpret_cast<void*>(&TapFree)},
      PyType_Slot{Py_tp_repr, reinterpret_cast<void*>(&TapRepr)},
      PyType_Slot{Py_tp_getattro, reinterpret_cast<void*>(&PyObject_GenericGetAttr)},
      PyType_Slot{Py_tp_methods, methods.data()},
      PyType_Slot{Py_tp_members, members.data()},
      PyType_Slot{0, nullptr}};
  static PyType_Spec spec = {"wheeltapper._native.Tap", static_cast<int>(sizeof(Tap)), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slots.data()};
  return reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
}

// The names under which people and tools know the original.
void CopyNames(nb::handle from, nb::handle to) {
  for (const char* name : {"__name__", "__qualname__", "__module__", "__doc__"}) {
    if (nb::hasattr(from, name)) {
      nb::setattr(to, name, from.attr(name));
    }
  }
  nb::setattr(to, "__wrapped__", from);
}

nb::object MakeTap(const nb::object& original, const nb::object& before, const nb::object& after) {
  static PyTypeObject* type = MakeTapType();
  if (type == nullptr) {
    throw nb::python_error();
  }
  PyObject* self = type->tp_alloc(type, 0);
  if (self == nullptr) {
    throw nb::python_error();
  }
  Tap* tap = AsTap(self);
  tap->original = Py_NewRef(original.ptr());
  tap->before = Py_NewRef(before.ptr());
  tap->after = Py_NewRef(after.ptr());
  nb::object result = nb::steal(self);
  CopyNames(original, result);
  return result;
}

}  // namespace

void BindTap(nb::module_& m) {
  m.def("tap", &MakeTap, nb::arg("original"), nb::arg("before").none() = nb::none(),
        nb::arg("after").none() = nb::none(),
        "A stand-in for `original` that calls before(*args, **kwargs) first and\n"
        "after(result, *args, **kwargs) when it returned. It leaves no frame in tracebacks.");
}

}  // namespace wheeltapper::python
