#include <vector>

#include "wheeltapper/cli/main.h"

int main(int argc, char** argv) {
  return wheeltapper::cli::Main(std::vector<std::string>(argv + 1, argv + argc));
}
