// fsck: looks at every file of a run and changes none.
#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "wheeltapper/core/crc32c.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/json.h"
#include "wheeltapper/format/parquet.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/format/run_reader.h"
#include "wheeltapper/format/safetensors.h"

#include "journal_scanner.h"
#include "run_names.h"
#include "safetensors/header_checksum.h"
#include "sealed_sets.h"
#include "sealed_tables.h"

namespace wheeltapper::format {
namespace {

bool IsJson(std::string_view text) { return !ParseJson(text).is_discarded(); }

class ProblemSink final : public ScanSink {
 public:
  ProblemSink(std::string file, FsckReport* report) : file_(std::move(file)), report_(report) {}
  void OnBatch(ScannedBatch&& /*batch*/) override {}
  void OnSkipped(uint64_t offset, uint64_t nbytes, const std::string& reason) override {
    report_->problems.push_back(
        {file_, fmt::format("{} at offset {} ({} bytes)", reason, offset, nbytes), true});
  }

 private:
  std::string file_;
  FsckReport* report_;
};

class RunChecker {
 public:
  RunChecker(const std::string& run_dir, const std::function<void(uint64_t)>& on_file)
      : run_dir_(run_dir), on_file_(on_file) {}

  Result<FsckReport> Run() {
    const Result<RunInfo> info = ReadRunInfo(run_dir_);
    CountFile();
    if (!info.ok() && info.status().code() != StatusCode::kDataLoss) {
      return info.status();
    }
    if (!info.ok()) {
      Report("run.json", info.status().message(), true);
    } else {
      run_id_ = info->run_id;
    }
    WT_RETURN_IF_ERROR(CheckSmallFiles());
    WT_RETURN_IF_ERROR(CheckSets());
    for (const std::string_view table : kTables) {
      WT_RETURN_IF_ERROR(CheckTables(table));
    }
    WT_RETURN_IF_ERROR(CheckBlobs());
    if (info.ok()) {
      WT_RETURN_IF_ERROR(CheckJournals());
    }
    return std::move(report_);
  }

 private:
  void CountFile() {
    ++report_.files_checked;
    if (on_file_) {
      on_file_(report_.files_checked);
    }
  }

  void Report(const std::string& file, const std::string& what, bool data_lost) {
    report_.problems.push_back({file, what, data_lost});
  }

  Status CheckSmallFiles() {
    WT_ASSIGN_OR_RETURN(const std::vector<Rank> ranks, ListRanks(run_dir_));
    for (const Rank rank : ranks) {
      CountFile();
      if (const auto info = ReadRankInfo(run_dir_, rank); !info.ok()) {
        Report(RelativeTo(run_dir_, RankInfoPath(run_dir_, rank)), info.status().message(), true);
      }
    }
    if (PathExists(EndPath(run_dir_))) {
      CountFile();
      if (const auto end = ReadEnd(run_dir_); !end.ok()) {
        Report("END", end.status().message(), true);
      }
    }
    for (const char* name : {"config.json", "rules.json"}) {
      CheckTextFile(name, [this, name](const std::string& text) {
        if (!IsJson(text)) {
          Report(name, "it is not JSON", true);
        }
      });
    }
    for (const char* name : {"findings.jsonl", "actions.jsonl", "trainings.jsonl"}) {
      CheckTextFile(name, [this, name](const std::string& text) { CheckLines(name, text); });
    }
    return {};
  }

  // Files of other modules, which the run is not read without: what they must be, not what they
  // say.
  void CheckTextFile(const char* name, const std::function<void(const std::string&)>& check) {
    const Result<std::string> text = ReadWholeFile(JoinPath(run_dir_, name), kMaxTextBytes);
    if (text.status().code() == StatusCode::kNotFound) {
      return;  // no rule has looked, no action was taken
    }
    CountFile();
    if (text.ok()) {
      check(*text);
    } else {
      Report(name, text.status().message(), true);
    }
  }

  // A whole last line counts for every reader, with its newline or without; of a torn one nothing
  // was promised: its writer was killed while it appended, or is appending now.
  void CheckLines(const char* name, const std::string& text) {
    int64_t number = 0;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      ++number;
      if (!IsJson(std::string_view(text).substr(begin, end - begin))) {
        const bool torn = end == text.size();
        Report(name, fmt::format("line {} is {}", number, torn ? "cut short" : "not JSON"), !torn);
      }
      begin = end + 1;
    }
  }

  // Sequence ranges of a rank's sets must not overlap: a row would be there twice.
  Status CheckSets() {
    WT_ASSIGN_OR_RETURN(sets_, ListSealedSets(run_dir_));
    for (const auto& [rank, sets] : sets_) {
      for (const SealedSetName& set : sets) {
        ReportMissing(rank, set);
      }
      for (size_t i = 1; i < sets.size(); ++i) {
        if (sets[i].first_seq <= sets[i - 1].last_seq) {
          Report(RelativeTo(run_dir_, SealedPath(run_dir_, std::string(kStepsTable), rank,
                                                 sets[i].first_seq, sets[i].last_seq)),
                 fmt::format("its sequence numbers overlap those of the file before: {} ≤ {}",
                             sets[i].first_seq, sets[i - 1].last_seq),
                 true);
        }
      }
    }
    return {};
  }

  void ReportMissing(Rank rank, const SealedSetName& set) {
    const auto steps = ParquetFile::Open(
        SealedPath(run_dir_, std::string(kStepsTable), rank, set.first_seq, set.last_seq));
    if (!steps.ok()) {
      return;  // CheckTables tells
    }
    for (const DamagedTable& table : FindMissingTables(run_dir_, rank, set, **steps)) {
      Report(RelativeTo(run_dir_, table.path), table.what, true);
    }
  }

  Status CheckTables(std::string_view table) {
    WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(run_dir_, table));
    for (const std::string& name : names) {
      const std::string path = JoinPath(JoinPath(run_dir_, table), name);
      const auto parsed = ParseSealedName(name);
      if (!parsed) {
        Report(RelativeTo(run_dir_, path), "not a name this format gives", false);
        continue;
      }
      CountFile();
      const auto rank = sets_.find(parsed->rank);
      if (rank == sets_.end() ||
          !std::binary_search(rank->second.begin(), rank->second.end(),
                              SealedSetName{parsed->first_seq, parsed->last_seq})) {
        Report(RelativeTo(run_dir_, path), "sealing was interrupted: the set is not complete",
               false);
      }
      if (Status status = CheckTable(path, table, *parsed); !status.ok()) {
        if (status.code() == StatusCode::kNotFound) {
          continue;  // compacted or removed meanwhile
        }
        Report(RelativeTo(run_dir_, path), status.message(), true);
      }
    }
    return {};
  }

  // Decodes every column; for tensors, compares the bytes with their checksums too.
  Status CheckTable(const std::string& path, std::string_view table, const SealedName& name) {
    WT_ASSIGN_OR_RETURN(const std::unique_ptr<ParquetFile> file, ParquetFile::Open(path));
    WT_RETURN_IF_ERROR(file->CheckWhole());
    for (const std::string& column : file->column_names()) {
      WT_RETURN_IF_ERROR(file->ReadColumn(column).status());
    }
    NameTable names;
    BatchMap batches;
    WT_RETURN_IF_ERROR(AddSealedRows(*file, table, name.rank, &names, &batches));
    report_.records_checked += static_cast<uint64_t>(file->rows());
    for (const auto& [seq, batch] : batches) {
      if (seq < name.first_seq || seq > name.last_seq) {
        return DataLossError(fmt::format("sequence number {} is outside the file's name", seq));
      }
      for (const TensorRow& row : batch.tensors) {
        CheckTensor(row);
      }
    }
    return {};
  }

  void CheckTensor(const TensorRow& row) {
    const std::string path = JoinPath(run_dir_, row.file);
    if (!PathExists(path)) {
      return;  // retention removed it
    }
    if (blob_path_ != path) {
      Result<MappedFile> mapped = MappedFile::OpenReadOnly(path);
      blob_path_ = path;
      blob_ = mapped.ok() ? std::move(mapped).value() : MappedFile();
    }
    const ByteSpan bytes = blob_.bytes();
    if (row.offset > bytes.size() || row.nbytes > bytes.size() - row.offset) {
      Report(row.file, fmt::format("ends before the tensor at offset {}", row.offset), true);
    } else if (Crc32c(bytes.subspan(row.offset, row.nbytes)) != row.crc) {
      Report(row.file, fmt::format("checksum mismatch at offset {}", row.offset), true);
    }
  }

  Status CheckBlobs() {
    WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(run_dir_, kBlobFolder));
    for (const std::string& name : names) {
      const std::string path = JoinPath(JoinPath(run_dir_, kBlobFolder), name);
      const std::string shown = RelativeTo(run_dir_, path);
      CountFile();
      if (name.ends_with(".open")) {
        Report(shown, "the blob is not finished: run recovery when its writer is gone", false);
        continue;
      }
      if (!name.ends_with(".safetensors")) {
        Report(shown, "not a name this format gives", false);
        continue;
      }
      const Result<MappedFile> mapped = MappedFile::OpenReadOnly(path);
      if (!mapped.ok()) {
        Report(shown, mapped.status().message(), true);
        continue;
      }
      Status status = ParseSafetensors(mapped->bytes()).status();
      status = status.ok() ? safetensors::CheckHeader(mapped->bytes()) : status;
      if (!status.ok()) {
        Report(shown, status.message(), true);
      }
    }
    return {};
  }

  Status CheckJournals() {
    WT_ASSIGN_OR_RETURN(const auto journals, ListJournals(run_dir_));
    for (const auto& [rank, numbers] : journals) {
      uint64_t seq_before = 0;
      for (const uint64_t number : numbers) {
        const std::string path = JournalPath(run_dir_, rank, number);
        const std::string shown = RelativeTo(run_dir_, path);
        const Result<MappedFile> mapped = MappedFile::OpenReadOnly(path);
        if (!mapped.ok()) {
          continue;  // sealed meanwhile
        }
        CountFile();
        ProblemSink sink(shown, &report_);
        JournalScanner scanner(rank, run_id_, seq_before);
        scanner.Scan(mapped->bytes(), number != numbers.back(), sink);
        report_.records_checked += scanner.records();
        seq_before = std::max(seq_before, scanner.last_seq());
        if (scanner.offset() < mapped->bytes().size()) {
          Report(shown,
                 fmt::format("{} bytes behind the last whole record, at offset {}",
                             mapped->bytes().size() - scanner.offset(), scanner.offset()),
                 false);
        }
        if (scanner.has_rows()) {
          Report(shown, "not sealed yet: run recovery when its writer is gone", false);
        }
      }
    }
    return {};
  }

  const std::string run_dir_;
  const std::function<void(uint64_t)>& on_file_;
  uint64_t run_id_ = 0;
  FsckReport report_;
  SealedSets sets_;
  std::string blob_path_;
  MappedFile blob_;
};

}  // namespace

Result<FsckReport> CheckRun(const std::string& run_dir,
                            const std::function<void(uint64_t)>& on_file) {
  return RunChecker(run_dir, on_file).Run();
}

}  // namespace wheeltapper::format
