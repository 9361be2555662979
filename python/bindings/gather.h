// Gathering: from Python objects that hold tensors to one Session::Record call per armed step.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nanobind/nanobind.h>

#include "wheeltapper/capture/session.h"
#include "wheeltapper/core/clock.h"

#include "array.h"

namespace wheeltapper::python {

// Holds, for each tensor to record, the object to find it from and its capture id: the parameter
// itself, an attribute of it (`.grad`), or an item of a dict (optimizer state). Tensors are looked
// up anew at every Record, so re-allocated gradients and swapped data are followed.
//
// All calls need the GIL, and Record keeps it: the views borrow shape and strides from the
// framework's tensors, which another Python thread could change.
class GatherPlan {
 public:
  // `plain_types`: exact types whose exchange interface may be used at once; every other object,
  // and every tensor it refuses, goes to resolve(object) first, which returns a plain tensor or
  // None for "cannot be read" (a DTensor's pointer must never be touched).
  GatherPlan(const nanobind::tuple& plain_types, nanobind::callable resolve);

  void AddObject(nanobind::object object, capture::CaptureId id);
  void AddAttribute(nanobind::object owner, nanobind::str name, capture::CaptureId id);
  void AddItem(nanobind::dict owner, nanobind::object key, capture::CaptureId id);

  // Records what is there now, each element times `scale`; entries that are None are left out.
  // Returns how many tensors were recorded. Raises what the framework raised, only when looking an
  // object up failed.
  size_t Record(capture::Session& session, double scale);
  // Records one tensor outside the plan (an activation).
  bool RecordOne(capture::Session& session, nanobind::handle object, capture::CaptureId id);

  // Euclidean norm over all elements of the last Record; NaN when one of the tensors held NaN or
  // infinity, or when no statistics were taken of it.
  [[nodiscard]] double norm() const { return norm_; }
  [[nodiscard]] size_t size() const { return entries_.size(); }

  int Traverse(visitproc visit, void* arg);
  void Clear();

 private:
  struct Entry {
    nanobind::object owner;
    nanobind::object key;  // invalid: the owner is the tensor
    capture::CaptureId id;
    bool is_item = false;
    bool reported = false;  // its RecordUnsupported was sent
  };
  // Lets go of the tensors that a call has looked up, however it ends: they are the user's
  // gradients.
  class Release {
   public:
    explicit Release(GatherPlan* plan) : plan_(plan) {}
    Release(const Release&) = delete;
    Release& operator=(const Release&) = delete;
    ~Release() {
      plan_->items_.clear();
      plan_->held_.clear();
    }

   private:
    GatherPlan* plan_;
  };
  // The tensor of an entry as a new reference; nullptr without an error when there is none.
  static PyObject* Find(const Entry& entry);
  [[nodiscard]] bool IsPlain(PyObject* object) const;
  // Fills `view`; may put a resolved tensor into held_.
  bool View(PyObject* object, tensor::TensorView* view);
  static bool ViewPlain(PyObject* object, tensor::TensorView* view);
  void UpdateNorm();

  std::vector<PyTypeObject*> plain_types_;
  nanobind::callable resolve_;
  std::vector<Entry> entries_;
  // Scratch of Record, kept to avoid allocation.
  std::vector<nanobind::object> held_;
  std::vector<capture::TensorItem> items_;
  std::vector<tensor::TensorStats> stats_;
  double norm_;
};

void BindGather(nanobind::module_& m);

}  // namespace wheeltapper::python
