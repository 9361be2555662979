#include "run_names.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include <fmt/format.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/run_directory.h"

namespace wheeltapper::format {
namespace {

// Takes a prefix, a number, a suffix off the front of a name.
class NameScanner {
 public:
  explicit NameScanner(std::string_view name) : rest_(name) {}

  NameScanner& Text(std::string_view text) {
    ok_ = ok_ && rest_.starts_with(text);
    if (ok_) {
      rest_.remove_prefix(text.size());
    }
    return *this;
  }
  NameScanner& Number(uint64_t* value) {
    const char* begin = rest_.data();
    const auto parsed = std::from_chars(begin, begin + rest_.size(), *value);
    ok_ = ok_ && parsed.ec == std::errc();
    if (ok_) {
      rest_.remove_prefix(static_cast<size_t>(parsed.ptr - begin));
    }
    return *this;
  }
  NameScanner& RankNumber(Rank* rank) {
    uint64_t value = 0;
    Text("r").Number(&value);
    ok_ = ok_ && value <= uint64_t{std::numeric_limits<int32_t>::max()};
    rank->value = ok_ ? static_cast<int32_t>(value) : 0;
    return *this;
  }
  [[nodiscard]] bool Done() const { return ok_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

std::string InRun(const std::string& run_dir, std::string_view folder, const std::string& name) {
  return JoinPath(JoinPath(run_dir, folder), name);
}

}  // namespace

std::optional<JournalName> ParseJournalName(std::string_view name) {
  JournalName parsed;
  const bool ok = NameScanner(name)
                      .RankNumber(&parsed.rank)
                      .Text("-")
                      .Number(&parsed.file_number)
                      .Text(".wtj")
                      .Done();
  return ok ? std::optional(parsed) : std::nullopt;
}

std::optional<SealedName> ParseSealedName(std::string_view name) {
  SealedName parsed;
  const bool ok = NameScanner(name)
                      .RankNumber(&parsed.rank)
                      .Text("-")
                      .Number(&parsed.first_seq)
                      .Text("-")
                      .Number(&parsed.last_seq)
                      .Text(".parquet")
                      .Done();
  return ok ? std::optional(parsed) : std::nullopt;
}

std::optional<BlobName> ParseBlobName(std::string_view name) {
  for (const bool open : {true, false}) {
    BlobName parsed;
    parsed.open = open;
    if (NameScanner(name)
            .RankNumber(&parsed.rank)
            .Text("-b")
            .Number(&parsed.blob_number)
            .Text(open ? ".open" : ".safetensors")
            .Done()) {
      return parsed;
    }
  }
  return std::nullopt;
}

std::optional<Rank> ParseLockName(std::string_view name) {
  Rank rank;
  return NameScanner(name).RankNumber(&rank).Text(".lock").Done() ? std::optional(rank)
                                                                  : std::nullopt;
}

std::string RunInfoPath(const std::string& run_dir) { return JoinPath(run_dir, "run.json"); }
std::string ConfigPath(const std::string& run_dir) { return JoinPath(run_dir, "config.json"); }
std::string EndPath(const std::string& run_dir) { return JoinPath(run_dir, "END"); }
std::string FindingsPath(const std::string& run_dir) { return JoinPath(run_dir, "findings.jsonl"); }
std::string ActionsPath(const std::string& run_dir) { return JoinPath(run_dir, "actions.jsonl"); }

std::string RankPrefix(Rank rank) { return fmt::format("r{:05}-", rank.value); }

std::string RankInfoPath(const std::string& run_dir, Rank rank) {
  return InRun(run_dir, "ranks", fmt::format("r{:05}.json", rank.value));
}

std::string JournalPath(const std::string& run_dir, Rank rank, uint64_t file_number) {
  return InRun(run_dir, kJournalFolder, fmt::format("r{:05}-{:06}.wtj", rank.value, file_number));
}

std::string LockPath(const std::string& run_dir, Rank rank) {
  return InRun(run_dir, kJournalFolder, fmt::format("r{:05}.lock", rank.value));
}

std::string SealedPath(const std::string& run_dir, const std::string& table, Rank rank,
                       uint64_t first_seq, uint64_t last_seq) {
  return InRun(run_dir, table,
               fmt::format("r{:05}-{:012}-{:012}.parquet", rank.value, first_seq, last_seq));
}

std::string PackedBlobPath(const std::string& run_dir, Rank rank, uint64_t first_seq,
                           uint64_t last_seq) {
  return InRun(run_dir, kBlobFolder,
               fmt::format("r{:05}-{:012}-{:012}.safetensors", rank.value, first_seq, last_seq));
}

std::string BlobPath(const std::string& run_dir, Rank rank, uint64_t blob_number, bool open) {
  return InRun(
      run_dir, kBlobFolder,
      fmt::format("r{:05}-b{:06}.{}", rank.value, blob_number, open ? "open" : "safetensors"));
}

Result<std::vector<std::string>> ListFolder(const std::string& run_dir, std::string_view folder) {
  Result<std::vector<std::string>> names = ListDirectory(JoinPath(run_dir, folder));
  if (!names.ok() && names.status().code() == StatusCode::kNotFound) {
    return std::vector<std::string>{};
  }
  return names;
}

Result<std::map<Rank, std::vector<uint64_t>>> ListJournals(const std::string& run_dir) {
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(run_dir, kJournalFolder));
  std::map<Rank, std::vector<uint64_t>> journals;
  for (const std::string& name : names) {
    if (const auto parsed = ParseJournalName(name)) {
      journals[parsed->rank].push_back(parsed->file_number);
    }
  }
  for (auto& [rank, numbers] : journals) {
    std::sort(numbers.begin(), numbers.end());
  }
  return journals;
}

Result<std::vector<Rank>> ListWriterRanks(const std::string& run_dir) {
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(run_dir, kJournalFolder));
  std::vector<Rank> ranks;
  for (const std::string& name : names) {
    if (const auto rank = ParseLockName(name)) {
      ranks.push_back(*rank);
    }
  }
  return ranks;
}

}  // namespace wheeltapper::format
