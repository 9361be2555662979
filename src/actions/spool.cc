#include "spool.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <map>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

namespace wheeltapper::actions {
namespace {

constexpr uint64_t kMaxMessageBytes = 64 << 20;
constexpr std::string_view kSuffix = ".json";

// The number in "000012.json"; 0 for any other name.
uint64_t NumberOf(const std::string& name) {
  if (!name.ends_with(kSuffix)) {
    return 0;
  }
  uint64_t number = 0;
  const char* end = name.data() + name.size() - kSuffix.size();
  const auto [stop, error] = std::from_chars(name.data(), end, number);
  return error == std::errc() && stop == end ? number : 0;
}

}  // namespace

bool Spool::HoldsMessages(const std::string& folder) {
  const Result<std::vector<std::string>> names = ListDirectory(folder);
  return names.ok() && std::any_of(names->begin(), names->end(),
                                   [](const std::string& name) { return NumberOf(name) != 0; });
}

Result<std::vector<Message>> Spool::Peek(const std::string& folder) {
  std::map<uint64_t, Message> messages;
  if (!PathExists(folder)) {
    return std::vector<Message>();
  }
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(folder));
  for (const std::string& name : names) {
    const uint64_t number = NumberOf(name);
    const Result<std::string> text = number == 0
                                         ? Result<std::string>(NotFoundError("no message"))
                                         : ReadWholeFile(JoinPath(folder, name), kMaxMessageBytes);
    Result<Message> message = text.ok() ? MessageFromText(*text) : Result<Message>(text.status());
    if (message.ok()) {  // else delivered meanwhile, or damaged: Load tells
      messages.emplace(number, std::move(*message));
    }
  }
  std::vector<Message> ordered;
  ordered.reserve(messages.size());
  for (auto& [number, message] : messages) {
    ordered.push_back(std::move(message));
  }
  return ordered;
}

Status Spool::Lock() {
  WT_RETURN_IF_ERROR(MakeDirectories(folder_));
  WT_ASSIGN_OR_RETURN(FileDescriptor file,
                      OpenFile(JoinPath(folder_, "lock"), O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    return errno == EWOULDBLOCK
               ? UnavailableError("another watcher delivers the messages in \"" + folder_ + "\"")
               : ErrnoError(errno, "locking \"" + folder_ + "\"");
  }
  lock_ = std::move(file);
  return {};
}

std::string Spool::PathOf(uint64_t number) const {
  std::string digits = std::to_string(number);
  digits.insert(0, digits.size() < 6 ? 6 - digits.size() : 0, '0');
  return JoinPath(folder_, digits + std::string(kSuffix));
}

Result<std::vector<std::pair<uint64_t, Message>>> Spool::Load(std::vector<std::string>* damaged) {
  std::vector<std::pair<uint64_t, Message>> messages;
  if (!PathExists(folder_)) {
    return messages;
  }
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(folder_));
  for (const std::string& name : names) {
    const uint64_t number = NumberOf(name);
    if (number == 0) {
      continue;
    }
    next_ = std::max(next_, number + 1);
    const std::string path = JoinPath(folder_, name);
    const Result<std::string> text = ReadWholeFile(path, kMaxMessageBytes);
    const Result<Message> message =
        text.ok() ? MessageFromText(*text) : Result<Message>(text.status());
    if (message.ok()) {
      messages.emplace_back(number, *message);
      continue;
    }
    RenameFile(path, path + ".damaged")
        .IgnoreError("it stays where it is and is reported again next time");
    damaged->push_back(path);
  }
  std::sort(messages.begin(), messages.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  return messages;
}

Result<uint64_t> Spool::Add(const Message& message) {
  WT_RETURN_IF_ERROR(MakeDirectories(folder_));
  if (!lock_.valid()) {
    Lock().IgnoreError("a file system without locks must not keep a message from being sent");
  }
  const uint64_t number = next_++;
  WT_RETURN_IF_ERROR(WriteFileAtomically(PathOf(number), MessageToText(message)));
  return number;
}

Result<TimeNs> Spool::WrittenAt(uint64_t number) const {
  struct stat info{};
  if (stat(PathOf(number).c_str(), &info) != 0) {
    return ErrnoError(errno, "reading the age of \"" + PathOf(number) + "\"");
  }
  return TimeNs{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
}

Result<std::string> Spool::Expire(uint64_t number) {
  const std::string kept = PathOf(number) + ".expired";
  WT_RETURN_IF_ERROR(RenameFile(PathOf(number), kept));
  return kept;
}

Status Spool::Remove(uint64_t number) { return RemoveFile(PathOf(number)); }

}  // namespace wheeltapper::actions
