// Which sealed blobs have become too old.
#include <algorithm>
#include <charconv>
#include <utility>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/safetensors.h"

#include "run_names.h"
#include "seal.h"

namespace wheeltapper::format {

Retention::Retention(std::string run_dir, Rank rank, int64_t keep_steps)
    : run_dir_(std::move(run_dir)), rank_(rank), keep_steps_(keep_steps) {}

void Retention::LoadOnce() {
  if (std::exchange(loaded_, true)) {
    return;
  }
  const std::string folder = JoinPath(run_dir_, kBlobFolder);
  for (const std::string& name :
       ListFolder(run_dir_, kBlobFolder).value_or(std::vector<std::string>{})) {
    if (!name.starts_with(RankPrefix(rank_)) || !name.ends_with(".safetensors")) {
      continue;
    }
    const std::string path = JoinPath(folder, name);
    const Result<MappedFile> mapped = MappedFile::OpenReadOnly(path);
    if (!mapped.ok()) {
      continue;
    }
    const Result<SafetensorsIndex> index = ParseSafetensors(mapped->bytes());
    const auto step = index.ok() ? index->metadata.find("last_step")
                                 : std::map<std::string, std::string>::const_iterator();
    int64_t newest = 0;
    // A blob that cannot be dated is kept.
    if (index.ok() && step != index->metadata.end() &&
        std::from_chars(step->second.data(), step->second.data() + step->second.size(), newest)
                .ec == std::errc()) {
      blob_steps_[path] = newest;
    }
  }
}

Status Retention::Apply(const SealOutcome& sealed) {
  if (keep_steps_ <= 0) {
    return {};
  }
  LoadOnce();
  blob_steps_.insert(sealed.blob_steps.begin(), sealed.blob_steps.end());
  newest_step_ = std::max(newest_step_, sealed.newest_step);
  Status first;
  for (auto blob = blob_steps_.begin(); blob != blob_steps_.end();) {
    if (blob->second >= newest_step_ - keep_steps_) {
      ++blob;
      continue;
    }
    if (const Status removed = RemoveFile(blob->first); !removed.ok()) {
      first = first.ok() ? removed : first;  // one that will not go must not keep the others
      ++blob;
      continue;
    }
    blob = blob_steps_.erase(blob);
  }
  return first;
}

}  // namespace wheeltapper::format
