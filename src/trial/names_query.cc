// Which names there are, by pattern, collection, mode and step.
#include <algorithm>
#include <string>
#include <vector>

#include "wheeltapper/core/regex.h"
#include "wheeltapper/core/suggest.h"

#include "run_view.h"

namespace wheeltapper::trial {
namespace {

bool InCollection(const format::NameInfo& info, const std::string& collection) {
  return collection.empty() || std::find(info.collections.begin(), info.collections.end(),
                                         collection) != info.collections.end();
}

}  // namespace

Result<format::NameId> RunView::IdOf(const std::string& name) const {
  const format::NameId* id = names.Find(name);
  if (id != nullptr) {
    return *id;
  }
  std::vector<std::string> known;
  known.reserve(names.size());
  for (format::NameId i = 0; i < names.size(); ++i) {
    known.push_back(names.info(i).name);
  }
  return NotFoundError("reading \"" + name + "\": this run has no such name" +
                       DidYouMean(name, known));
}

Result<std::vector<format::NameId>> FilterNames(RunView* view, const NameFilter& filter) {
  WT_ASSIGN_OR_RETURN(const Regex regex, Regex::Compile(filter.regex));
  std::vector<format::NameId> ids;
  for (format::NameId id = 0; id < view->names.size(); ++id) {
    const format::NameInfo& info = view->names.info(id);
    if (!InCollection(info, filter.collection)) {
      continue;
    }
    WT_ASSIGN_OR_RETURN(const bool matches, regex.Search(info.name));
    if (!matches) {
      continue;
    }
    if (filter.mode || filter.step) {
      WT_ASSIGN_OR_RETURN(const bool there, HasRow(view, id, filter.mode, filter.step));
      if (!there) {
        continue;
      }
    }
    ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end(), [view](format::NameId a, format::NameId b) {
    return view->names.info(a).name < view->names.info(b).name;
  });
  return ids;
}

}  // namespace wheeltapper::trial
