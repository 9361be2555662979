#include "sandbox_landlock.h"

#include <algorithm>
#include <cstdint>

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace wheeltapper::rules {
namespace {

// Newer than the headers of Debian 12. A kernel that does not know the later members takes them
// when they are 0.
struct RulesetAttributes {
  uint64_t handled_access_fs = 0;
  uint64_t handled_access_net = 0;
  uint64_t scoped = 0;
};
constexpr uint64_t kScopeAbstractSocket = uint64_t{1} << 0;
constexpr uint64_t kScopeSignal = uint64_t{1} << 1;

// Every right that changes the file system, as far as this version knows them.
uint64_t WriteRights(int abi) {
  uint64_t rights = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                    LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                    LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                    LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                    LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;
  constexpr uint64_t kRefer = uint64_t{1} << 13;     // ABI 2
  constexpr uint64_t kTruncate = uint64_t{1} << 14;  // ABI 3
  rights |= abi >= 2 ? kRefer : 0;
  rights |= abi >= 3 ? kTruncate : 0;
  return rights;
}

bool AllowBeneath(int ruleset, const std::string& path, uint64_t rights) {
  const Result<FileDescriptor> target = OpenFile(path, O_PATH);
  if (!target.ok()) {
    return false;
  }
  landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = target->get()};
  return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
}

}  // namespace

int KernelLandlockAbi() {
  const auto abi =
      syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return std::max(static_cast<int>(abi), 0);
}

FileDescriptor MakeRuleset(const std::string& private_dir, int abi) {
  constexpr int kScopeAbi = 6;
  if (abi < 1) {
    return {};
  }
  RulesetAttributes attributes;
  attributes.handled_access_fs = WriteRights(abi);
  attributes.scoped = abi >= kScopeAbi ? kScopeAbstractSocket | kScopeSignal : 0;
  const FileDescriptor ruleset(
      static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0)));
  if (!ruleset.valid() || !AllowBeneath(ruleset.get(), private_dir, WriteRights(abi)) ||
      !AllowBeneath(ruleset.get(), "/dev/null", LANDLOCK_ACCESS_FS_WRITE_FILE)) {
    return {};
  }
  // The watcher may have its standard descriptors closed; the child sets up its own over them.
  return FileDescriptor(fcntl(ruleset.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}

}  // namespace wheeltapper::rules
