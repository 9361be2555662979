#include "trial.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include "wheeltapper/trial/trial.h"

#include "array.h"
#include "arrow.h"
#include "status.h"

namespace wheeltapper::python {
namespace {

namespace nb = nanobind;
using tensor::DType;
using trial::Trial;

using OptionalMode = std::optional<int>;
using OptionalRank = std::optional<int>;

std::optional<Mode> ModeOf(const OptionalMode& mode) {
  return mode ? std::optional(static_cast<Mode>(static_cast<uint8_t>(*mode & 3))) : std::nullopt;
}
std::optional<Rank> RankOf(const OptionalRank& rank) {
  return rank ? std::optional(Rank{*rank}) : std::nullopt;
}

trial::SeriesQuery QueryOf(const OptionalMode& mode, const OptionalRank& rank,
                           const std::optional<int64_t>& first,
                           const std::optional<int64_t>& last) {
  trial::SeriesQuery query;
  query.mode = ModeOf(mode);
  query.rank = RankOf(rank);
  query.first_step = first.value_or(query.first_step);
  query.last_step = last.value_or(query.last_step);
  return query;
}

// Key columns shared by every series.
class KeyColumns {
 public:
  void Add(const format::StepKey& key, TimeNs wall_ns) {
    step_.push_back(key.step.value);
    mode_.push_back(static_cast<uint8_t>(key.mode));
    mode_step_.push_back(key.mode_step);
    rank_.push_back(key.rank.value);
    time_.push_back(wall_ns);
  }
  nb::dict ToDict() && {
    nb::dict out;
    out["step"] = OwnedArray(std::move(step_), DType::kI64);
    out["mode"] = OwnedArray(std::move(mode_), DType::kU8);
    out["mode_step"] = OwnedArray(std::move(mode_step_), DType::kI64);
    out["rank"] = OwnedArray(std::move(rank_), DType::kI32);
    out["time_ns"] = OwnedArray(std::move(time_), DType::kI64);
    return out;
  }

 private:
  std::vector<int64_t> step_;
  std::vector<uint8_t> mode_;
  std::vector<int64_t> mode_step_;
  std::vector<int32_t> rank_;
  std::vector<int64_t> time_;
};

nb::dict SeriesToDict(const std::vector<trial::ScalarPoint>& points) {
  KeyColumns keys;
  std::vector<double> values;
  values.reserve(points.size());
  for (const trial::ScalarPoint& point : points) {
    keys.Add(point.key, point.wall_ns);
    values.push_back(point.value);
  }
  nb::dict out = std::move(keys).ToDict();
  out["value"] = OwnedArray(std::move(values), DType::kF64);
  return out;
}

nb::dict ReductionSeries(Trial& self, const std::string& name, const trial::ReductionQuery& what,
                         const trial::SeriesQuery& query, bool merge) {
  std::vector<trial::StatsPoint> points = Unwrap(self.Stats(name, query));
  if (merge) {
    points = trial::MergeRanks(std::move(points));
  }
  std::vector<trial::ScalarPoint> series;
  series.reserve(points.size());
  for (const trial::StatsPoint& point : points) {
    series.push_back({point.key, point.wall_ns, Unwrap(trial::ReductionOf(point, what))});
  }
  return SeriesToDict(series);
}

nb::dict Histograms(Trial& self, const std::string& name, const trial::SeriesQuery& query) {
  KeyColumns keys;
  nb::list bins;
  for (const trial::StatsPoint& point : Unwrap(self.Stats(name, query))) {
    keys.Add(point.key, point.wall_ns);
    nb::list one;
    for (const tensor::HistogramBin& bin : point.histogram) {
      one.append(nb::make_tuple(tensor::BinLow(bin.bin), tensor::BinHigh(bin.bin), bin.count));
    }
    bins.append(one);
  }
  nb::dict out = std::move(keys).ToDict();
  out["bins"] = bins;
  return out;
}

nb::dict StepTimes(Trial& self, const trial::SeriesQuery& query) {
  KeyColumns keys;
  std::vector<int64_t> blocked;
  std::vector<int64_t> step;
  std::vector<int64_t> data_wait;
  for (const trial::StepPoint& point : Unwrap(self.StepTimes(query))) {
    keys.Add(point.key, point.wall_ns);
    blocked.push_back(point.blocked_ns);
    step.push_back(point.step_ns);
    data_wait.push_back(point.data_wait_ns);
  }
  nb::dict out = std::move(keys).ToDict();
  out["blocked_ns"] = OwnedArray(std::move(blocked), DType::kI64);
  out["step_ns"] = OwnedArray(std::move(step), DType::kI64);
  out["data_wait_ns"] = OwnedArray(std::move(data_wait), DType::kI64);
  return out;
}

NativeArray ArrayOf(trial::TensorValue value) {
  NativeArray array;
  array.bytes = value.bytes;
  array.owner = std::move(value.owner);
  array.dtype = value.dtype;
  for (const int64_t extent : value.shape) {
    array.shape.push_back(static_cast<Py_ssize_t>(extent));
  }
  SetContiguousStrides(&array);
  return array;
}

NativeArray ValueOf(Trial& self, const std::string& name, int64_t step, int mode, int rank) {
  return ArrayOf(
      Unwrap(self.Value(name, Step{step}, ModeOf(mode).value_or(Mode::kTrain), Rank{rank})));
}

nb::list ValuesOf(Trial& self, const std::string& name, int mode, int rank) {
  nb::list out;
  for (trial::ValueRun& run :
       Unwrap(self.Values(name, ModeOf(mode).value_or(Mode::kTrain), Rank{rank}))) {
    NativeArray array = ArrayOf(std::move(run.first));
    array.shape.insert(array.shape.begin(), static_cast<Py_ssize_t>(run.steps.size()));
    array.strides.insert(array.strides.begin(), static_cast<Py_ssize_t>(run.stride_bytes));
    array.bytes = {array.bytes.data(),
                   (run.steps.size() - 1) * run.stride_bytes + array.bytes.size()};
    out.append(nb::make_tuple(nb::cast(run.steps), nb::cast(std::move(array))));
  }
  return out;
}

nb::list Gaps(Trial& self) {
  nb::list out;
  for (const format::GapRow& row : Unwrap(self.Gaps())) {
    nb::dict one;
    one["first_step"] = row.gap.first_step;
    one["last_step"] = row.gap.last_step;
    one["reason"] = format::GapReasonName(row.gap.reason);
    one["what"] = format::GapWhatName(row.gap.what);
    one["tensors_dropped"] = row.gap.tensors_dropped;
    one["bytes_dropped"] = row.gap.bytes_dropped;
    out.append(one);
  }
  return out;
}

nb::dict Info(Trial& self) {
  const format::RunInfo& info = self.info();
  nb::dict out;
  out["name"] = info.name;
  out["started_ns"] = info.started_wall_ns;
  out["argv"] = info.argv;
  out["cwd"] = info.cwd;
  out["host"] = info.host;
  out["wheeltapper_version"] = info.wheeltapper_version;
  nb::dict environment;
  for (const auto& [key, value] : info.environment) {
    environment[key.c_str()] = value;
  }
  out["environment"] = environment;
  return out;
}

std::optional<nb::dict> End(Trial& self) {
  if (!self.end()) {
    return std::nullopt;
  }
  nb::dict out;
  out["state"] = self.end()->state;
  out["exit_code"] = self.end()->exit_code;
  out["reason"] = self.end()->reason;
  out["ended_ns"] = self.end()->ended_wall_ns;
  return out;
}

std::optional<nb::dict> NameInfo(Trial& self, const std::string& name) {
  const format::NameId* id = self.names().Find(name);
  if (id == nullptr) {
    return std::nullopt;
  }
  const format::NameInfo& info = self.names().info(*id);
  nb::dict out;
  out["name"] = info.name;
  out["kind"] = info.kind == format::DescKind::kScalar ? "scalar" : "tensor";
  out["dtype"] = std::string(tensor::DTypeFrameworkName(info.dtype));
  out["shape"] = nb::tuple(nb::cast(info.shape));
  out["collections"] = info.collections;
  return out;
}

template <typename Id>
std::vector<int> ToInts(const std::vector<Id>& ids) {
  std::vector<int> out;
  std::ranges::transform(ids, std::back_inserter(out), [](const Id& id) {
    if constexpr (std::is_same_v<Id, Rank>) {
      return static_cast<int>(id.value);
    } else {
      return static_cast<int>(id);
    }
  });
  return out;
}

void BindIndex(nb::class_<Trial>& type) {
  type.def_static(
          "open", [](const std::string& path) { return Unwrap(Trial::Open(path)); },
          nb::arg("path"), "Opens a run directory.")
      .def(
          "refresh", [](Trial& self) { Unwrap(self.Refresh()); },
          "Reads what has been committed since.")
      .def_prop_ro(
          "path", [](Trial& self) { return self.path(); }, "The run directory.")
      .def_prop_ro("info", &Info, "run.json as a dict.")
      .def_prop_ro("end", &End, "How the run ended, or None.")
      .def_prop_ro(
          "state", [](Trial& self) { return std::string(trial::RunStateName(self.state())); },
          "running, finished, failed, stopped, interrupted or abandoned.")
      .def("name_info", &NameInfo, nb::arg("name"), "What is known about a name, or None.")
      .def(
          "names",
          [](Trial& self, const std::string& regex, const std::string& collection,
             const OptionalMode& mode, const std::optional<int64_t>& step) {
            const trial::NameFilter filter{regex, collection, ModeOf(mode),
                                           step ? std::optional(Step{*step}) : std::nullopt};
            return Unwrap(self.Names(filter));
          },
          nb::kw_only(), nb::arg("regex") = "", nb::arg("collection") = "",
          nb::arg("mode") = nb::none(), nb::arg("step") = nb::none(), "Names, sorted.")
      .def(
          "collections", [](Trial& self) { return Unwrap(self.Collections()); },
          "Names of the collections, sorted.")
      .def(
          "steps",
          [](Trial& self, const OptionalMode& mode, const OptionalRank& rank,
             const std::optional<std::string>& name, bool include_incomplete) {
            return Unwrap(self.Steps({ModeOf(mode), RankOf(rank), name, include_incomplete}));
          },
          nb::kw_only(), nb::arg("mode") = nb::none(), nb::arg("rank") = nb::none(),
          nb::arg("name") = nb::none(), nb::arg("include_incomplete") = false, "Steps, ascending.")
      .def(
          "modes", [](Trial& self) { return ToInts(Unwrap(self.Modes())); }, "Modes seen.")
      .def(
          "ranks", [](Trial& self) { return ToInts(Unwrap(self.Ranks())); }, "Ranks seen.")
      .def(
          "state_of_step",
          [](Trial& self, int64_t step, const OptionalMode& mode) {
            return static_cast<int>(Unwrap(self.StateOfStep(step, ModeOf(mode))));
          },
          nb::arg("step"), nb::arg("mode") = nb::none(),
          "0 unavailable, 1 available, 2 not yet available.")
      .def(
          "wait_for_step",
          [](Trial& self, int64_t step, const OptionalMode& mode, double timeout_s) {
            Unwrap(self.WaitForStep(step, ModeOf(mode), static_cast<TimeNs>(timeout_s * 1e9)));
          },
          nb::arg("step"), nb::arg("mode") = nb::none(), nb::arg("timeout_s") = 0.0,
          "Returns when the step is available; raises when it can no longer be.");
}

void BindSeries(nb::class_<Trial>& type) {
  type.def(
          "scalars",
          [](Trial& self, const std::string& name, const OptionalMode& mode,
             const OptionalRank& rank, std::optional<int64_t> first, std::optional<int64_t> last) {
            return SeriesToDict(Unwrap(self.Scalars(name, QueryOf(mode, rank, first, last))));
          },
          nb::arg("name"), nb::kw_only(), nb::arg("mode") = nb::none(),
          nb::arg("rank") = nb::none(), nb::arg("first_step") = nb::none(),
          nb::arg("last_step") = nb::none(), "A scalar's points as columns.")
      .def(
          "reduction",
          [](Trial& self, const std::string& name, const std::string& reduction, bool abs, int ddof,
             const OptionalMode& mode, const OptionalRank& rank, std::optional<int64_t> first,
             std::optional<int64_t> last, bool merge_ranks) {
            return ReductionSeries(self, name, {reduction, abs, ddof},
                                   QueryOf(mode, rank, first, last), merge_ranks);
          },
          nb::arg("name"), nb::arg("reduction"), nb::kw_only(), nb::arg("abs") = false,
          nb::arg("ddof") = 0, nb::arg("mode") = nb::none(), nb::arg("rank") = nb::none(),
          nb::arg("first_step") = nb::none(), nb::arg("last_step") = nb::none(),
          nb::arg("merge_ranks") = false, "A reduction of a tensor over its steps, as columns.")
      .def(
          "histograms",
          [](Trial& self, const std::string& name, const OptionalMode& mode,
             const OptionalRank& rank) {
            return Histograms(self, name, QueryOf(mode, rank, std::nullopt, std::nullopt));
          },
          nb::arg("name"), nb::kw_only(), nb::arg("mode") = nb::none(),
          nb::arg("rank") = nb::none(), "Histograms as lists of (low, high, count).")
      .def("value", &ValueOf, nb::arg("name"), nb::arg("step"), nb::arg("mode") = 0,
           nb::arg("rank") = 0, "A raw tensor without a copy.")
      .def(
          "values", &ValuesOf, nb::arg("name"), nb::arg("mode") = 0, nb::arg("rank") = 0,
          "All raw values without a copy: (steps, array of one more dimension) for each stretch of "
          "values that are alike.");
}

void BindRunData(nb::class_<Trial>& type) {
  type.def(
          "step_times",
          [](Trial& self, const OptionalMode& mode, const OptionalRank& rank) {
            return StepTimes(self, QueryOf(mode, rank, std::nullopt, std::nullopt));
          },
          nb::kw_only(), nb::arg("mode") = nb::none(), nb::arg("rank") = nb::none(),
          "Time of each step as the job measured it, as columns.")
      .def("gaps", &Gaps, "What was not recorded, and why.")
      .def(
          "metas", [](Trial& self) { return Unwrap(self.Metas()); },
          "JSON texts of the run's metas, in commit order.")
      .def_prop_ro(
          "overhead",
          [](Trial& self) {
            const trial::Overhead overhead = Unwrap(self.MeasuredOverhead());
            return nb::make_tuple(overhead.fraction, overhead.blocked_ns, overhead.elapsed_ns);
          },
          "(fraction, blocked_ns, elapsed_ns).")
      .def(
          "table",
          [](Trial& self, const std::string& table, const std::string& regex,
             const std::string& collection, const OptionalMode& mode, const OptionalRank& rank) {
            const trial::NameFilter names{regex, collection, ModeOf(mode), std::nullopt};
            return NativeTable{std::make_shared<const format::Table>(Unwrap(
                self.ReadTable(table, names, QueryOf(mode, rank, std::nullopt, std::nullopt))))};
          },
          nb::arg("table"), nb::kw_only(), nb::arg("regex") = "", nb::arg("collection") = "",
          nb::arg("mode") = nb::none(), nb::arg("rank") = nb::none(),
          "scalars, stats, tensors or steps as one table.");
}

}  // namespace

void BindTrial(nb::module_& m) {
  nb::class_<Trial> type(m, "Trial", "Read view over one run; see trial/trial.h.");
  BindIndex(type);
  BindSeries(type);
  BindRunData(type);
}

}  // namespace wheeltapper::python
