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

// Calls `callable` unless it is None and drops what it returns; false with an error set. It may be
// silenced meanwhile, by itself even: the call has a reference of its own.
bool CallAside(PyObject* callable, PyObject* args, PyObject* kwargs) {
  if (callable == Py_None) {
    return true;
  }
  Py_INCREF(callable);
  PyObject* returned = PyObject_Call(callable, args, kwargs);
  Py_DECREF(callable);
  Py_XDECREF(returned);
  return returned != nullptr;
}

// Calls after(result, *args, **kwargs).
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
  const bool called = CallAside(after, extended, kwargs);
  Py_DECREF(extended);
  return called;
}

PyObject* TapCall(PyObject* self, PyObject* args, PyObject* kwargs) {
  Tap* tap = AsTap(self);
  if (!CallAside(tap->before, args, kwargs)) {
    return nullptr;
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

// Calls neither before nor after from now on, also in calls that are under way.
PyObject* TapSilence(PyObject* self, PyObject* /*unused*/) {
  Tap* tap = AsTap(self);
  Py_SETREF(tap->before, Py_NewRef(Py_None));
  Py_SETREF(tap->after, Py_NewRef(Py_None));
  Py_RETURN_NONE;
}

PyTypeObject* MakeTapType() {
  static std::array<PyMemberDef, 2> members = {
      PyMemberDef{"__dictoffset__", T_PYSSIZET, offsetof(Tap, dict), READONLY, nullptr},
      PyMemberDef{nullptr, 0, 0, 0, nullptr}};
  static std::array<PyMethodDef, 3> methods = {
      PyMethodDef{"__reduce__", &TapReduce, METH_NOARGS, nullptr},
      PyMethodDef{"silence", &TapSilence, METH_NOARGS,
                  "Calls neither before nor after from now on, also in calls that are under way."},
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
        "after(result, *args, **kwargs) when it returned, until its silence() is called. It\n"
        "leaves no frame in tracebacks.");
}

}  // namespace wheeltapper::python
