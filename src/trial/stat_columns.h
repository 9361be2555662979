// The statistics that are stored, by column name: as columns of a sealed table or from a row of the
// tail, the same either way.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "wheeltapper/core/status.h"
#include "wheeltapper/format/rows.h"
#include "wheeltapper/trial/trial.h"

#include "row_keys.h"

namespace wheeltapper::trial {

struct StatColumn {
  const char* name;
  double (*of)(const format::StatsRow& row);
};

// All of them, in the order of the table; the first six are counts.
std::span<const StatColumn> StatColumns();
// nullptr when there is no such column.
const StatColumn* FindStatColumn(const std::string& name);
std::vector<std::string> StatColumnNames();

// Decodes the wanted rows of a sealed stats table.
Status AppendStats(const SealedTable& table, const KeyedRows& rows,
                   std::vector<StatsPoint>* points);

}  // namespace wheeltapper::trial
