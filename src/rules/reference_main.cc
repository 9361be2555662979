// Prints docs/reference/rules.md.
#include <iostream>

#include "wheeltapper/rules/catalogue.h"

int main() {
  std::cout << wheeltapper::rules::RulesReferenceMarkdown();
  return 0;
}
