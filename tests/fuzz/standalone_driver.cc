// Runs a fuzzer without libFuzzer, so that every ordinary test run exercises it:
//   <fuzzer> RUNS CORPUS_DIR
// runs each file of CORPUS_DIR (recursively, in name order), then RUNS deterministic mutations of
// those files, or of random bytes when there are none. A failure is whatever LLVMFuzzerTestOneInput
// does about it: trap, abort, sanitizer report. The input that was running is then left in the file
// named by WT_FUZZ_CRASH_FILE, when that is set.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t kMaxInputBytes = size_t{1} << 16;
constexpr uint64_t kSeed = 0x57484545;

std::vector<Bytes> ReadCorpus(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> paths;
  std::error_code error;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder, error)) {
    if (entry.is_regular_file()) {
      paths.push_back(entry.path());
    }
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Bytes> corpus;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return corpus;
}

class Mutator {
 public:
  explicit Mutator(const std::vector<Bytes>& corpus) : corpus_(corpus) {}

  Bytes Next() {
    if (corpus_.empty() || Below(16) == 0) {
      return RandomBytes();
    }
    Bytes input = corpus_[Below(corpus_.size())];
    const size_t edits = 1 + Below(8);
    for (size_t i = 0; i < edits; ++i) {
      Edit(&input);
    }
    input.resize(std::min(input.size(), kMaxInputBytes));
    return input;
  }

 private:
  size_t Below(size_t limit) { return limit == 0 ? 0 : random_() % limit; }
  uint8_t Byte() { return static_cast<uint8_t>(random_()); }

  Bytes RandomBytes() {
    Bytes input(Below(size_t{1} << (1 + Below(12))));
    std::generate(input.begin(), input.end(), [this] { return Byte(); });
    return input;
  }

  // Lengths, offsets and counts are where parsers break: whole words get boundary values.
  void WriteWord(Bytes* input) {
    static constexpr uint64_t kWords[] = {0,           1,          0x7f,       0x80,
                                          0xff,        0x7fff,     0x8000,     0xffff,
                                          0x7fffffff,  0x80000000, 0xffffffff, 0x7fffffffffffffff,
                                          ~uint64_t{0}};
    const uint64_t word = kWords[Below(std::size(kWords))];
    const size_t width = size_t{1} << Below(4);
    if (input->size() < width) {
      return;
    }
    const size_t at = Below(input->size() - width + 1);
    for (size_t i = 0; i < width; ++i) {
      (*input)[at + i] = static_cast<uint8_t>(word >> (8 * i));
    }
  }

  void Splice(Bytes* input) {
    const Bytes& other = corpus_[Below(corpus_.size())];
    const size_t from = Below(other.size() + 1);
    const size_t keep = Below(input->size() + 1);
    input->resize(keep);
    input->insert(input->end(), other.begin() + static_cast<ptrdiff_t>(from), other.end());
  }

  void Edit(Bytes* input) {
    const size_t at = Below(input->size());
    const auto position = input->begin() + static_cast<ptrdiff_t>(at);
    switch (Below(7)) {
      case 0:
        input->insert(position, Byte());
        break;
      case 1:
        WriteWord(input);
        break;
      case 2:
        Splice(input);
        break;
      case 3:
        input->resize(at);
        break;
      case 4:
        if (!input->empty()) {
          *position = Byte();
        }
        break;
      case 5:
        if (!input->empty()) {
          const size_t length = 1 + Below(std::min<size_t>(16, input->size() - at));
          input->erase(position, position + static_cast<ptrdiff_t>(length));
        }
        break;
      default:
        if (!input->empty()) {
          *position = static_cast<uint8_t>(*position ^ (1U << Below(8)));
        }
        break;
    }
  }

  const std::vector<Bytes>& corpus_;
  std::mt19937_64 random_{kSeed};
};

void Run(const Bytes& input, const char* crash_file) {
  if (crash_file != nullptr) {
    std::ofstream(crash_file, std::ios::binary | std::ios::trunc)
        .write(reinterpret_cast<const char*>(input.data()),
               static_cast<std::streamsize>(input.size()));
  }
  // A block of exactly this size, so that AddressSanitizer sees a read past the end.
  const Bytes exact(input);
  (void)LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: " << argv[0] << " RUNS [CORPUS_DIR]\n";
    return 2;
  }
  const size_t runs = std::stoull(argv[1]);
  const std::vector<Bytes> corpus = argc > 2 ? ReadCorpus(argv[2]) : std::vector<Bytes>{};
  const char* crash_file = std::getenv("WT_FUZZ_CRASH_FILE");
  for (const Bytes& input : corpus) {
    Run(input, crash_file);
  }
  Mutator mutator(corpus);
  for (size_t i = 0; i < runs; ++i) {
    Run(mutator.Next(), crash_file);
  }
  std::cout << "ran " << corpus.size() << " corpus files and " << runs << " mutations\n";
  return 0;
}
