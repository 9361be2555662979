#include "gather.h"

#include <cmath>
#include <limits>
#include <utility>

#include "session.h"

namespace wheeltapper::python {
namespace {

namespace nb = nanobind;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
// Says "no statistics were taken": no tensor has fewer than 0 elements.
constexpr int64_t kUntouched = -1;

bool IsComplex(tensor::DType dtype) {
  return dtype == tensor::DType::kC64 || dtype == tensor::DType::kC128;
}

int GatherTraverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  return nb::inst_ready(self) ? nb::inst_ptr<GatherPlan>(self)->Traverse(visit, arg) : 0;
}

int GatherClear(PyObject* self) {
  nb::inst_ptr<GatherPlan>(self)->Clear();
  return 0;
}

}  // namespace

GatherPlan::GatherPlan(const nb::tuple& plain_types, nb::callable resolve)
    : resolve_(std::move(resolve)), norm_(kNan) {
  for (nb::handle type : plain_types) {
    if (!PyType_Check(type.ptr())) {
      throw nb::type_error("plain_types must hold types");
    }
    Py_INCREF(type.ptr());  // framework types are never freed
    plain_types_.push_back(reinterpret_cast<PyTypeObject*>(type.ptr()));
  }
}

void GatherPlan::AddObject(nb::object object, capture::CaptureId id) {
  entries_.push_back({.owner = std::move(object), .key = {}, .id = id});
}

void GatherPlan::AddAttribute(nb::object owner, nb::str name, capture::CaptureId id) {
  PyObject* interned = name.release().ptr();
  PyUnicode_InternInPlace(&interned);
  entries_.push_back({.owner = std::move(owner), .key = nb::steal(interned), .id = id});
}

void GatherPlan::AddItem(nb::dict owner, nb::object key, capture::CaptureId id) {
  entries_.push_back({.owner = std::move(owner), .key = std::move(key), .id = id, .is_item = true});
}

PyObject* GatherPlan::Find(const Entry& entry) {
  if (!entry.key.is_valid()) {
    return Py_NewRef(entry.owner.ptr());
  }
  PyObject* found = nullptr;
  if (entry.is_item) {
    found = PyDict_GetItemWithError(entry.owner.ptr(), entry.key.ptr());
    Py_XINCREF(found);
  } else {
    found = PyObject_GetAttr(entry.owner.ptr(), entry.key.ptr());
  }
  if (found == Py_None) {
    Py_CLEAR(found);
  }
  return found;
}

bool GatherPlan::IsPlain(PyObject* object) const {
  for (const PyTypeObject* type : plain_types_) {
    if (Py_TYPE(object) == type) {
      return true;
    }
  }
  return false;
}

bool GatherPlan::ViewPlain(PyObject* object, tensor::TensorView* view) {
  const DLPackExchangeApi* api = Exchange().Of(Py_TYPE(object));
  DLTensor tensor{};
  if (api == nullptr || api->dltensor_from_py_object(object, &tensor) != 0) {
    PyErr_Clear();
    return false;
  }
  return ViewOfDLTensor(tensor, view) == ViewState::kOk;
}

bool GatherPlan::View(PyObject* object, tensor::TensorView* view) {
  // The interface drops the conjugate bit of complex tensors: those are resolved as well.
  if (IsPlain(object) && ViewPlain(object, view) && !IsComplex(view->dtype)) {
    return true;
  }
  nb::object resolved = resolve_(nb::borrow(object));
  if (resolved.is_none() || !ViewPlain(resolved.ptr(), view)) {
    return false;
  }
  held_.push_back(std::move(resolved));
  return true;
}

size_t GatherPlan::Record(capture::Session& session, double scale) {
  const Release release(this);
  stats_.resize(entries_.size());
  for (Entry& entry : entries_) {
    PyObject* object = Find(entry);
    if (object == nullptr) {
      if (PyErr_Occurred() != nullptr) {
        throw nb::python_error();
      }
      continue;
    }
    held_.push_back(nb::steal(object));
    capture::TensorItem item{.id = entry.id, .view = {}, .scale = scale};
    if (!View(object, &item.view)) {
      if (!std::exchange(entry.reported, true)) {
        session.RecordUnsupported(entry.id);
      }
      continue;
    }
    item.stats_out = &stats_[items_.size()];
    item.stats_out->numel = kUntouched;
    items_.push_back(item);
  }
  session.Record(items_);
  UpdateNorm();
  return items_.size();
}

bool GatherPlan::RecordOne(capture::Session& session, nb::handle object, capture::CaptureId id) {
  const Release release(this);
  capture::TensorItem item{.id = id, .view = {}};
  const bool readable = View(object.ptr(), &item.view);
  if (readable) {
    items_.push_back(item);
    session.Record(items_);
  } else {
    session.RecordUnsupported(id);
  }
  return readable;
}

void GatherPlan::UpdateNorm() {
  double squares = 0;
  bool complete = !items_.empty();
  for (size_t i = 0; i < items_.size(); ++i) {
    const tensor::TensorStats& stats = stats_[i];
    if (stats.numel == kUntouched || stats.nonfinite_count() > 0) {
      complete = false;
      break;
    }
    if (stats.finite() > 0) {
      const double l2 = stats.l2();
      squares += l2 * l2;
    }
  }
  norm_ = complete ? std::sqrt(squares) : kNan;
}

int GatherPlan::Traverse(visitproc visit, void* arg) {
  Py_VISIT(resolve_.ptr());
  for (const Entry& entry : entries_) {
    Py_VISIT(entry.owner.ptr());
    Py_VISIT(entry.key.ptr());
  }
  return 0;
}

void GatherPlan::Clear() {
  entries_.clear();
  held_.clear();
  nb::object resolve = std::move(resolve_);
  resolve.reset();
}

void BindGather(nb::module_& m) {
  static std::array<PyType_Slot, 3> slots = {
      PyType_Slot{Py_tp_traverse, reinterpret_cast<void*>(&GatherTraverse)},
      PyType_Slot{Py_tp_clear, reinterpret_cast<void*>(&GatherClear)}, PyType_Slot{0, nullptr}};
  nb::class_<GatherPlan>(m, "GatherPlan", nb::type_slots(slots.data()),
                         "Tensors to record, found anew at every step, in one call.")
      .def(nb::init<const nb::tuple&, nb::callable>(), nb::arg("plain_types"), nb::arg("resolve"),
           "`plain_types` are read directly; any other object goes to resolve(object) first.")
      .def("add_object", &GatherPlan::AddObject, nb::arg("object"), nb::arg("id"),
           "Records the object itself.")
      .def("add_attribute", &GatherPlan::AddAttribute, nb::arg("owner"), nb::arg("name"),
           nb::arg("id"), "Records an attribute of the owner, when it is not None.")
      .def("add_item", &GatherPlan::AddItem, nb::arg("owner"), nb::arg("key"), nb::arg("id"),
           "Records an item of a dict, when it is there.")
      .def(
          "record",
          [](GatherPlan& self, NativeSession& session, double scale) {
            return self.Record(session.get(), scale);
          },
          nb::arg("session"), nb::arg("scale") = 1.0,
          "Records what is there now, times `scale`; the number of tensors recorded.")
      .def(
          "record_one",
          [](GatherPlan& self, NativeSession& session, nb::handle object, capture::CaptureId id) {
            return self.RecordOne(session.get(), object, id);
          },
          nb::arg("session"), nb::arg("object"), nb::arg("id"),
          "Records one tensor outside the plan; False when it cannot be read.")
      .def_prop_ro("norm", &GatherPlan::norm,
                   "Euclidean norm over all tensors of the last record(), NaN when one of them\n"
                   "held NaN or infinity or had no statistics taken.")
      .def("__len__", &GatherPlan::size);
}

}  // namespace wheeltapper::python
