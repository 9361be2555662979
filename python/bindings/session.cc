#include "session.h"

#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/config.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/format/run_directory.h"

#include "array.h"
#include "status.h"

namespace wheeltapper::python {
namespace {

namespace nb = nanobind;
using capture::CaptureId;
using capture::Role;

constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;

Role RoleOf(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, Role>, 9> kRoles = {{
      {"weight", Role::kWeight},
      {"bias", Role::kBias},
      {"gradient", Role::kGradient},
      {"optimizer", Role::kOptimizer},
      {"output", Role::kOutput},
      {"input", Role::kInput},
      {"loss", Role::kLoss},
      {"metric", Role::kMetric},
      {"other", Role::kOther},
  }};
  for (const auto& [text, role] : kRoles) {
    if (text == name) {
      return role;
    }
  }
  Raise(InvalidArgumentError("registering a tensor: unknown role: \"" + std::string(name) + "\""));
}

tensor::DType DTypeOfFrameworkName(std::string_view name) {
  for (uint8_t raw = 0; raw < tensor::kDTypeCount; ++raw) {
    const auto dtype = static_cast<tensor::DType>(raw);
    if (tensor::DTypeFrameworkName(dtype) == name) {
      return dtype;
    }
  }
  // Statistics are of what is recorded; an element type without a name here is noted as bytes.
  return tensor::DType::kU8;
}

Mode ModeOf(int mode) { return static_cast<Mode>(static_cast<uint8_t>(mode & 3)); }

TimeNs Nanoseconds(double seconds) { return static_cast<TimeNs>(seconds * 1e9); }

// The watcher's resolved configuration when there is one, else this process' own.
Result<Config> ConfigOfRun(const std::string& run_dir) {
  const std::string path = format::ConfigPath(run_dir);
  if (!PathExists(path)) {
    return Config::Load(ConfigSources::Current());
  }
  WT_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path, kMaxConfigBytes));
  return Config::FromJson(text);
}

std::unique_ptr<NativeSession> StartSession(const std::string& run_dir, int rank, int world_size,
                                            const std::string& framework,
                                            const std::string& device) {
  return std::make_unique<NativeSession>(
      Unwrap(WithoutGil([&]() -> Result<std::unique_ptr<capture::Session>> {
        WT_ASSIGN_OR_RETURN(const Config config, ConfigOfRun(run_dir));
        const capture::SessionOptions options{.run_dir = run_dir,
                                              .rank = Rank{rank},
                                              .world_size = world_size,
                                              .framework = framework,
                                              .device = device};
        return capture::Session::Start(options, config, SystemClock());
      })));
}

// Python numbers to scalars; leaves out what is no number.
void FillScalars(NativeSession& self, const nb::list& ids, const nb::list& values) {
  self.scalars.clear();
  const size_t count = nb::len(ids);
  if (nb::len(values) != count) {
    throw nb::value_error("as many values as ids are needed");
  }
  for (size_t i = 0; i < count; ++i) {
    self.scalars.push_back({nb::cast<CaptureId>(ids[i]), nb::cast<double>(values[i])});
  }
}

// A number as Python's own C code reads it; false for everything that takes a call to be read.
bool ReadNumber(PyObject* value, double* number) {
  if (PyFloat_Check(value)) {
    *number = PyFloat_AS_DOUBLE(value);
    return true;
  }
  if (!PyLong_Check(value)) {
    return false;
  }
  *number = PyLong_AsDouble(value);
  if (*number == -1.0 && PyErr_Occurred() != nullptr) {
    PyErr_Clear();  // larger than any double: float(value) says so
    return false;
  }
  return true;
}

// Collects a dict of numbers; false when an entry is something else or its name is not in `ids`.
// Runs no Python code, so the dict stays as it is and its references may be borrowed: names are
// exact strings, whose hashing and comparing nobody can override.
bool CollectKnown(PyObject* values, PyObject* ids, std::vector<capture::ScalarItem>* scalars) {
  scalars->clear();
  Py_ssize_t at = 0;
  PyObject* name = nullptr;
  PyObject* value = nullptr;
  while (PyDict_Next(values, &at, &name, &value) != 0) {
    double number = 0;
    if (!PyUnicode_CheckExact(name) || !ReadNumber(value, &number)) {
      return false;
    }
    PyObject* id = PyDict_GetItemWithError(ids, name);
    if (id == nullptr) {
      return false;
    }
    scalars->push_back({static_cast<CaptureId>(PyLong_AsUnsignedLongMask(id)), number});
  }
  return true;
}

bool LogKnown(NativeSession& self, nb::handle values, const nb::dict& ids, int64_t step, int mode) {
  if (!PyDict_CheckExact(values.ptr()) || !CollectKnown(values.ptr(), ids.ptr(), &self.scalars)) {
    return false;
  }
  self.get().Log(self.scalars, step, ModeOf(mode));
  return true;
}

nb::dict CountersOf(const capture::SessionCounters& counters) {
  nb::dict out;
  out["steps"] = counters.steps;
  out["armed_steps"] = counters.armed_steps;
  out["gaps"] = counters.gaps;
  out["errors"] = counters.errors;
  out["fuse_blown"] = counters.fuse_blown;
  out["interval"] = counters.interval;
  out["blocked_ns"] = counters.blocked_ns;
  out["elapsed_ns"] = counters.elapsed_ns;
  out["overhead"] = counters.overhead;
  out["ring_fill"] = counters.ring_fill;
  out["bytes_drained"] = counters.bytes_drained;
  return out;
}

// True when the array was recorded, false when it was noted as unsupported.
bool RecordArray(NativeSession& self, CaptureId id, nb::handle object) {
  ArrayView array;
  if (array.Read(object) != ViewState::kOk) {
    self.get().RecordUnsupported(id);
    return false;
  }
  const capture::TensorItem item{.id = id, .view = array.view()};
  self.get().Record({&item, 1});
  return true;
}

// NOLINTNEXTLINE(readability-function-size): what Python calls by keyword
CaptureId RegisterTensor(NativeSession& self, const std::string& name, std::string_view role,
                         std::string_view dtype, const nb::object& shape, bool root,
                         const std::string& collection) {
  capture::TensorSpec spec;
  spec.name = name;
  spec.role = RoleOf(role);
  spec.dtype = DTypeOfFrameworkName(dtype);
  for (nb::handle extent : shape) {
    spec.shape.push_back(nb::cast<int64_t>(extent));
  }
  spec.root = root;
  spec.collection = collection;
  return Unwrap(self.get().RegisterTensor(spec));
}

void BindSetUp(nb::class_<NativeSession>& type) {
  type.def_static("start", &StartSession, nb::arg("run_dir"), nb::arg("rank") = 0,
                  nb::arg("world_size") = 1, nb::arg("framework") = "", nb::arg("device") = "cpu",
                  "Starts capture for one rank of the run in `run_dir` (it must hold run.json).")
      .def("register_tensor", &RegisterTensor, nb::arg("name"), nb::kw_only(),
           nb::arg("role") = "other", nb::arg("dtype") = "float32",
           nb::arg("shape") = nb::make_tuple(), nb::arg("root") = false, nb::arg("collection") = "",
           "The id of a tensor's name; the same id when it is registered again.")
      .def(
          "register_scalar",
          [](NativeSession& self, const std::string& name, std::string_view role) {
            return Unwrap(self.get().RegisterScalar(name, RoleOf(role)));
          },
          nb::arg("name"), nb::arg("role") = "metric", "The id of a scalar's name.")
      .def(
          "take",
          [](NativeSession& self, CaptureId id, int mode) {
            return self.get().take(id, ModeOf(mode));
          },
          nb::arg("id"), nb::arg("mode") = 0,
          "What is taken of it on an armed step, as bits; 0: nothing.")
      .def(
          "meta", [](NativeSession& self, const std::string& json) { self.get().Meta(json); },
          nb::arg("json"), "Records a JSON object with a \"kind\".")
      .def(
          "describe_model",
          [](NativeSession& self, const std::string& summary) {
            Unwrap(self.get().DescribeModel(summary));
          },
          nb::arg("summary"), "Notes a one-line description of the model in ranks/.");
}

void BindRecording(nb::class_<NativeSession>& type) {
  type.def(
          "armed", [](NativeSession& self, int mode) { return self.get().armed(ModeOf(mode)); },
          nb::arg("mode") = 0, "True when tensors of the present step are to be recorded.")
      .def("record_array", &RecordArray, nb::arg("id"), nb::arg("array"),
           "Records one array (exchange interface or buffer protocol); False when it cannot be\n"
           "read, which is noted as a gap.")
      .def(
          "record_scalars",
          [](NativeSession& self, const nb::list& ids, const nb::list& values) {
            FillScalars(self, ids, values);
            self.get().RecordScalars(self.scalars);
          },
          nb::arg("ids"), nb::arg("values"), "Scalars of the open step.")
      .def(
          "log",
          [](NativeSession& self, const nb::list& ids, const nb::list& values, int64_t step,
             int mode) {
            FillScalars(self, ids, values);
            self.get().Log(self.scalars, step, ModeOf(mode));
          },
          nb::arg("ids"), nb::arg("values"), nb::arg("step") = -1, nb::arg("mode") = 0,
          "Scalars of their own, visible at once.")
      .def("log_known", &LogKnown, nb::arg("values"), nb::arg("ids"), nb::arg("step") = -1,
           nb::arg("mode") = 0,
           "As log(), from a dict of numbers whose names `ids` maps to ids. False, and nothing\n"
           "recorded, when that is not what `values` is.");
}

void BindSteps(nb::class_<NativeSession>& type) {
  type.def(
          "finish_step",
          [](NativeSession& self, int mode, int64_t data_wait_ns, int64_t hooks_ns) {
            self.get().FinishStep(ModeOf(mode),
                                  {.data_wait_ns = data_wait_ns, .hooks_ns = hooks_ns});
            return self.get().armed(ModeOf(mode));
          },
          nb::arg("mode") = 0, nb::arg("data_wait_ns") = 0, nb::arg("hooks_ns") = 0,
          "Closes the open step; returns whether the next one of this mode is armed.")
      .def(
          "mark_step", [](NativeSession& self) { self.get().MarkStep(); },
          "The script itself ends the open step: it is committed even when nothing of it was\n"
          "recorded.")
      .def(
          "amend_step", [](NativeSession& self, int mode) { self.get().AmendStep(ModeOf(mode)); },
          nb::arg("mode") = 0,
          "What was recorded since a step was last finished belongs to the last one of this mode.")
      .def(
          "unsupported",
          [](NativeSession& self, CaptureId id) { self.get().RecordUnsupported(id); },
          nb::arg("id"), "Notes a gap: this tensor cannot be read.")
      .def(
          "set_phase", [](NativeSession& self, uint32_t phase) { self.get().SetPhase(phase); },
          nb::arg("phase"), "What the training thread is in (the Phase of the rank page).")
      .def(
          "set_global_step",
          [](NativeSession& self, int64_t step) { self.get().SetGlobalStep(step); },
          nb::arg("step"), "After a resume: the next step to finish.")
      .def_prop_ro(
          "held_ns", [](NativeSession& self) { return self.get().held_ns(); },
          "Time that calls which record have taken so far, in ns.")
      .def_prop_ro(
          "global_step", [](NativeSession& self) { return self.get().global_step(); },
          "The step that is open now.")
      .def(
          "mode_step",
          [](NativeSession& self, int mode) { return self.get().mode_step(ModeOf(mode)); },
          nb::arg("mode") = 0, "The open step counted within one mode.");
}

void BindLife(nb::class_<NativeSession>& type) {
  type.def(
          "stop",
          [](NativeSession& self, double deadline_s) {
            Unwrap(WithoutGil([&] { return self.get().Stop(Nanoseconds(deadline_s)); }));
          },
          nb::arg("deadline_s") = 5.0,
          "Drains, seals within the deadline, ends the rank. Idempotent.")
      .def(
          "flush",
          [](NativeSession& self, double deadline_s) {
            Unwrap(WithoutGil([&] { return self.get().Flush(Nanoseconds(deadline_s)); }));
          },
          nb::arg("deadline_s") = 5.0, "Returns when everything published is readable by others.")
      .def_prop_ro(
          "counters", [](NativeSession& self) { return CountersOf(self.get().counters()); },
          "Steps, gaps, errors, overhead.")
      .def(
          "disable", [](NativeSession& self) { self.get().Disable("hooks of the framework"); },
          "The fuse has blown on the Python side: nothing is recorded any more, which a gap says.")
      .def_prop_ro(
          "last_error",
          [](NativeSession& self) -> std::optional<std::string> {
            const Status status = self.get().last_error();
            return status.ok() ? std::nullopt : std::optional(status.ToString());
          },
          "The last internal error as text, or None.")
      .def_prop_ro(
          "inert", [](NativeSession& self) { return self.get().inert(); },
          "True in a forked child: every call is then a no-op.");
}

}  // namespace

void BindSession(nb::module_& m) {
  nb::class_<NativeSession> type(m, "Session", "Capture of one rank; see capture/session.h.");
  BindSetUp(type);
  BindRecording(type);
  BindSteps(type);
  BindLife(type);
}

}  // namespace wheeltapper::python
