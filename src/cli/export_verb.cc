// `wheeltapper export`: tables as csv, parquet or npz; raw tensors as npz.
#include <cmath>
#include <functional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "wheeltapper/cli/main.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/format/parquet.h"
#include "wheeltapper/trial/trial.h"

#include "chosen_runs.h"
#include "context.h"
#include "npz.h"
#include "progress.h"
#include "render.h"
#include "verbs.h"

namespace wheeltapper::cli {
namespace {

using format::Column;
using format::Table;

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

// RFC 4180: quoted when it holds a comma, a quote or a line break.
std::string CsvText(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) {
    return text;
  }
  std::string quoted = "\"";
  for (const char c : text) {
    quoted += c;
    if (c == '"') {
      quoted += '"';
    }
  }
  return quoted + "\"";
}

// Shortest text that reads back to the same double; NaN and infinities as Python and pandas spell
// them.
std::string CsvNumber(double value) {
  if (std::isnan(value)) {
    return "nan";
  }
  return std::isinf(value) ? (value > 0 ? "inf" : "-inf") : fmt::format("{}", value);
}

std::string CsvList(const format::Int64ListColumn& column, size_t row) {
  std::string text = "[";
  for (int64_t i = column.offsets[row]; i < column.offsets[row + 1]; ++i) {
    text += (text.size() == 1 ? "" : " ") + std::to_string(column.values[static_cast<size_t>(i)]);
  }
  return text + "]";
}

std::string CsvCell(const Column& column, size_t row) {
  return std::visit(
      Overloaded{
          [row](const format::StringColumn& c) { return CsvText(c.dictionary[c.codes[row]]); },
          [row](const format::DoubleColumn& c) {
            return !c.present.empty() && c.present[row] == 0 ? std::string()
                                                             : CsvNumber(c.values[row]);
          },
          [row](const format::Int64ListColumn& c) { return CsvList(c, row); },
          [row](const auto& c) { return std::to_string(c.values[row]); },
      },
      column.data);
}

std::string Csv(const Table& table, Progress* progress) {
  std::string out;
  for (const Column& column : table.columns) {
    out += (out.empty() ? "" : ",") + CsvText(column.name);
  }
  out += "\n";
  const auto rows = static_cast<size_t>(table.rows());
  for (size_t row = 0; row < rows; ++row) {
    for (size_t i = 0; i < table.columns.size(); ++i) {
      out += (i == 0 ? "" : ",") + CsvCell(table.columns[i], row);
    }
    out += "\n";
    progress->Show(static_cast<int64_t>(row), table.rows());
  }
  return out;
}

template <typename T>
ByteSpan BytesOf(const std::vector<T>& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(T)};
}

// A text column becomes its codes and, as "<name>.names", the dictionary joined by line breaks (as
// bytes).
Status AddTextColumn(NpzWriter* npz, const std::string& name, const format::StringColumn& column) {
  std::string names;
  for (const std::string& text : column.dictionary) {
    names += text + "\n";
  }
  WT_RETURN_IF_ERROR(npz->Add(name, tensor::DType::kU32,
                              {static_cast<int64_t>(column.codes.size())}, BytesOf(column.codes)));
  return npz->Add(name + ".names", tensor::DType::kU8, {static_cast<int64_t>(names.size())},
                  AsBytes(names));
}

Status AddColumn(NpzWriter* npz, const Column& column) {
  const auto add = [&](tensor::DType dtype, const auto& values) {
    return npz->Add(column.name, dtype, {static_cast<int64_t>(values.size())}, BytesOf(values));
  };
  return std::visit(
      Overloaded{
          [&](const format::StringColumn& c) { return AddTextColumn(npz, column.name, c); },
          [&](const format::Int32Column& c) { return add(tensor::DType::kI32, c.values); },
          [&](const format::Int64Column& c) { return add(tensor::DType::kI64, c.values); },
          [&](const format::TimestampColumn& c) { return add(tensor::DType::kI64, c.values); },
          [&](const format::DoubleColumn& c) {
            std::vector<double> values = c.values;  // null becomes NaN: NumPy has no null
            for (size_t i = 0; i < c.present.size(); ++i) {
              values[i] = c.present[i] == 0 ? std::nan("") : values[i];
            }
            return add(tensor::DType::kF64, values);
          },
          [&](const format::Int64ListColumn& c) {
            const Status offsets =
                npz->Add(column.name + ".offsets", tensor::DType::kI64,
                         {static_cast<int64_t>(c.offsets.size())}, BytesOf(c.offsets));
            return offsets.ok() ? add(tensor::DType::kI64, c.values) : offsets;
          },
      },
      column.data);
}

// Raw values: one member per tensor and step, "<name>/<mode>/<step>/r<rank>". Those that are
// damaged go to `lost`.
Status AddTensors(NpzWriter* npz, trial::Trial& trial, const Table& table, Progress* progress,
                  std::vector<trial::Damage>* lost) {
  const auto* names = std::get_if<format::StringColumn>(&table.Find("tensor")->data);
  const auto* modes = std::get_if<format::StringColumn>(&table.Find("mode")->data);
  const auto* steps = std::get_if<format::Int64Column>(&table.Find("step")->data);
  const auto* ranks = std::get_if<format::Int32Column>(&table.Find("rank")->data);
  if (names == nullptr || modes == nullptr || steps == nullptr || ranks == nullptr) {
    return InternalError("the tensors table lacks its key columns");
  }
  for (size_t row = 0; row < names->codes.size(); ++row) {
    const std::string& name = names->dictionary[names->codes[row]];
    const std::string& mode = modes->dictionary[modes->codes[row]];
    const Result<trial::TensorValue> value =
        trial.Value(name, Step{steps->values[row]}, ModeFromName(mode).value_or(Mode::kGlobal),
                    Rank{ranks->values[row]});
    const std::string member =
        fmt::format("{}/{}/{}/r{}", name, mode, steps->values[row], ranks->values[row]);
    if (value.status().code() == StatusCode::kDataLoss) {
      lost->push_back({.table = "tensors", .file = member, .what = value.status().message()});
      continue;
    }
    WT_RETURN_IF_ERROR(value.status());
    WT_RETURN_IF_ERROR(npz->Add(member, value->dtype, value->shape, value->bytes));
    progress->Show(static_cast<int64_t>(row), table.rows());
  }
  return {};
}

Status WriteNpz(const Arguments& arguments, trial::Trial& trial, const Table& table,
                Progress* progress, std::vector<trial::Damage>* lost) {
  WT_ASSIGN_OR_RETURN(NpzWriter npz, NpzWriter::Create(arguments.output));
  if (arguments.table == "tensors") {
    WT_RETURN_IF_ERROR(AddTensors(&npz, trial, table, progress, lost));
    return npz.Finish();
  }
  for (const Column& column : table.columns) {
    WT_RETURN_IF_ERROR(AddColumn(&npz, column));
  }
  return npz.Finish();
}

Status WriteTable(const Arguments& arguments, trial::Trial& trial, const Table& table,
                  Progress* progress, std::vector<trial::Damage>* lost) {
  if (arguments.format == "csv") {
    return WriteFileAtomically(arguments.output, Csv(table, progress));
  }
  if (arguments.format == "parquet") {
    return format::WriteParquet(arguments.output, table, {});
  }
  return WriteNpz(arguments, trial, table, progress, lost);
}

// What was written, for scripts; the columns are in the file itself.
void PrintWritten(const Arguments& arguments, const std::string& run, const Table& table,
                  const std::vector<trial::Damage>& lost) {
  nlohmann::json damaged = nlohmann::json::array();
  for (const trial::Damage& damage : lost) {
    damaged.push_back({{"file", damage.file}, {"what", damage.what}});
  }
  const nlohmann::json written = {{"run", run},
                                  {"table", arguments.table},
                                  {"format", arguments.format},
                                  {"path", arguments.output},
                                  {"rows", table.rows()},
                                  {"damaged", std::move(damaged)}};
  PrintJson(written);
}

// Never silent, also with --quiet: what is exported looks whole.
void TellLost(const std::string& run, const std::vector<trial::Damage>& lost) {
  for (const trial::Damage& damage : lost) {
    SayError(fmt::format("{}: rows are missing: {}: {}; `wheeltapper fsck` looks closer",
                         BaseName(run), damage.file, Printable(damage.what)));
  }
}

// What could not be read of the table.
Result<std::vector<trial::Damage>> Export(const Arguments& arguments, const std::string& run) {
  const bool to_stdout = arguments.output.empty();
  if (to_stdout && arguments.format != "csv") {
    return InvalidArgumentError(arguments.format + " is binary: name the file with -o FILE");
  }
  if (to_stdout && arguments.json) {
    return InvalidArgumentError(
        "--json tells what was written, and without -o stdout is the table itself: name the file "
        "with -o FILE");
  }
  WT_ASSIGN_OR_RETURN(const std::unique_ptr<trial::Trial> trial, trial::Trial::Open(run));
  trial::NameFilter names;
  names.regex = arguments.regex;
  std::vector<trial::Damage> lost;
  WT_ASSIGN_OR_RETURN(const Table table, trial->SalvageTable(arguments.table, names, {}, &lost));
  std::string csv;
  {
    Progress progress("exporting " + BaseName(run), ProgressOutput(arguments.quiet));
    if (to_stdout) {
      csv = Csv(table, &progress);
    } else {
      WT_RETURN_IF_ERROR(WriteTable(arguments, *trial, table, &progress, &lost));
    }
  }
  if (to_stdout) {
    Print(csv);
  } else if (arguments.json) {
    PrintWritten(arguments, run, table, lost);
  } else if (!arguments.quiet) {
    Say("wrote " + arguments.output);
  }
  return lost;
}

}  // namespace

int ExportVerb(const Arguments& arguments) {
  const Result<std::string> run = ChosenRun(arguments);
  if (!run.ok()) {
    return Fail(run.status());
  }
  const Result<std::vector<trial::Damage>> lost = Export(arguments, *run);
  if (!lost.ok()) {
    return Fail(lost.status());
  }
  TellLost(*run, *lost);
  return lost->empty() ? kExitOk : kExitFindings;
}

}  // namespace wheeltapper::cli
