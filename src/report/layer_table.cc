#include "layer_table.h"

#include <fmt/format.h>

#include "wheeltapper/core/plural.h"

#include "number_text.h"
#include "svg_chart.h"

namespace wheeltapper::report {
namespace {

// Beside the number of elements belongs what one step had of them, not a sum over steps.
std::string NonfiniteText(const TensorHealth& health) {
  return health.nonfinite == 0 ? "0"
                               : fmt::format("<b>{}</b>, at {}", health.nonfinite_most,
                                             Plural(health.nonfinite_steps, "step"));
}

std::string Row(const TensorHealth& health) {
  const bool activation = health.collection == "activations";
  const bool dead = activation && health.numel > 0 && health.last_zero_share >= 1;
  const char* mark = health.nonfinite > 0 || dead ? " class='trouble'" : "";
  std::string out = fmt::format("<tr{}><th scope='row'>{}</th><td>{}</td>", mark,
                                EscapeHtml(health.name), health.numel);
  out += fmt::format("<td class='plot'>{}</td>", SvgSparkline(health.rms));
  for (const double value : {health.last_rms, health.last_mean, health.last_std, health.largest}) {
    out += fmt::format("<td>{}</td>", NumberText(value));
  }
  out += fmt::format("<td>{:.1f} %</td><td>{}</td>", health.last_zero_share * 100,
                     NonfiniteText(health));
  return out + "</tr>";
}

std::string TableOf(const ReportData& data, const std::string& collection) {
  std::string rows;
  for (const TensorHealth& health : data.tensors) {
    if (health.collection == collection) {
      rows += Row(health);
    }
  }
  if (rows.empty()) {
    return "";
  }
  return fmt::format(
      "<h3>{}</h3><div class='scroll'><table><thead><tr><th scope='col'>tensor</th><th "
      "scope='col'>elements</th>"
      "<th scope='col'>RMS over steps</th><th scope='col'>last RMS</th><th scope='col'>last "
      "mean</th><th scope='col'>last std</th>"
      "<th scope='col'>largest finite |x| of the run</th><th scope='col'>last zeros</th>"
      "<th scope='col'>NaN and ∞ at a step, at most</th></tr></thead><tbody>{}</tbody>"
      "</table></div>",
      collection, rows);
}

}  // namespace

std::string LayerTables(const ReportData& data) {
  std::string out;
  for (const char* collection : {"gradients", "weights", "biases", "activations"}) {
    out += TableOf(data, collection);
  }
  if (static_cast<int64_t>(data.tensors.size()) < data.tensors_total) {
    out += fmt::format(
        "<p class='note'>{} of {} tensors are shown: those with values that are not finite, and "
        "the "
        "largest. The stats table holds all.</p>",
        data.tensors.size(), data.tensors_total);
  }
  return out;
}

}  // namespace wheeltapper::report
