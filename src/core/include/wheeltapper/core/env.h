// The only reader of the process environment. Values are copied, so a later setenv elsewhere cannot
// pull memory from under a reader; reading still races with a concurrent setenv, so read early.
#pragma once

#include <map>
#include <optional>
#include <string>

namespace wheeltapper {

// A copy of an environment: name → value.
using Environment = std::map<std::string, std::string, std::less<>>;

// The variable's value, or nothing when it is not set. An empty value is a value.
std::optional<std::string> GetEnv(const std::string& name);

// All variables of this process as of now.
Environment CurrentEnvironment();

}  // namespace wheeltapper
