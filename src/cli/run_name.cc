#include "run_name.h"

#include <array>

namespace wheeltapper::cli {
namespace {

constexpr std::array kAdjectives = {
    "agile",  "amber",  "bold",  "brave",  "brisk", "bright", "calm",  "clear", "clever", "cosy",
    "crisp",  "deft",   "eager", "early",  "fair",  "firm",   "fleet", "fresh", "gentle", "glad",
    "golden", "grand",  "happy", "hardy",  "jolly", "keen",   "kind",  "light", "lively", "lucky",
    "merry",  "mild",   "neat",  "noble",  "plain", "proud",  "quick", "quiet", "ready",  "royal",
    "sharp",  "silver", "smart", "steady", "sunny", "swift",  "warm",  "wise"};
constexpr std::array kAnimals = {
    "adder", "badger", "bear",   "beaver", "bison",   "crane",  "crow",  "deer",   "dove", "eagle",
    "eel",   "elk",    "falcon", "finch",  "fox",     "gannet", "goat",  "goose",  "hare", "hawk",
    "heron", "horse",  "ibex",   "jay",    "kestrel", "lark",   "lynx",  "marten", "mole", "moose",
    "newt",  "otter",  "owl",    "panda",  "pike",    "plover", "raven", "robin",  "seal", "shrew",
    "stoat", "stork",  "swan",   "tern",   "toad",    "trout",  "vole",  "wren"};

}  // namespace

std::string MakeRunName(uint64_t random) {
  const std::string adjective = kAdjectives.at(random % kAdjectives.size());
  random /= kAdjectives.size();
  const std::string animal = kAnimals.at(random % kAnimals.size());
  random /= kAnimals.size();
  return adjective + "-" + animal + "-" + std::to_string(random % 100);
}

}  // namespace wheeltapper::cli
