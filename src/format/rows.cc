#include "wheeltapper/format/rows.h"

namespace wheeltapper::format {

NameId NameTable::Intern(const std::string& name) {
  const auto [at, added] = ids_.try_emplace(name, static_cast<NameId>(infos_.size()));
  if (added) {
    infos_.emplace_back().name = name;
  }
  return at->second;
}

const NameId* NameTable::Find(const std::string& name) const {
  const auto at = ids_.find(name);
  return at == ids_.end() ? nullptr : &at->second;
}

}  // namespace wheeltapper::format
