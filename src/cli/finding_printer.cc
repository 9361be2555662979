#include "finding_printer.h"

#include <fmt/format.h>

#include "context.h"
#include "findings_output.h"
#include "render.h"

namespace wheeltapper::cli {
namespace {

// "error[exploding_tensor]"
std::string Head(const rules::Finding& finding) {
  return fmt::format("{}[{}]", rules::SeverityName(finding.severity), finding.rule);
}

}  // namespace

void FindingPrinter::Tell(const std::string& text) const {
  Say(run_.empty() ? text : fmt::format("run {}: {}", Printable(run_), text));
}

void FindingPrinter::Opened(const rules::Finding& finding) { TellWhole("", finding); }

void FindingPrinter::TellWhole(const std::string& before, const rules::Finding& finding) {
  shown_[finding.id] = {.severity = finding.severity,
                        .tensor = finding.tensor,
                        .step = finding.step,
                        .also = SeveritiesOf(finding.also)};
  std::string text = before + RenderFinding(finding, colours_);
  text.pop_back();
  Tell(text);
}

void FindingPrinter::Updated(const rules::Finding& finding) {
  Shown& shown = shown_[finding.id];
  if (finding.severity > shown.severity) {
    Opened(finding);
    return;
  }
  if (finding.tensor != shown.tensor || finding.step < shown.step) {
    // Another rank, whose steps were read later, or another tensor was the first.
    TellWhole("traced further back: ", finding);
    return;
  }
  for (const rules::AlsoSeen& other : finding.also) {
    const auto known = shown.also.find(other.rule);
    if (!quiet_ && (known == shown.also.end() || other.severity > known->second)) {
      Tell(fmt::format("{}, also: {}", Head(finding), Printable(other.text())));
    }
  }
  shown.also = SeveritiesOf(finding.also);
}

void FindingPrinter::Resolved(const rules::Finding& finding) {
  if (quiet_) {
    return;
  }
  if (finding.part_of) {
    // "<rule>-<n>": nothing that is printed shows the number.
    const std::string rule = finding.part_of->substr(0, finding.part_of->rfind('-'));
    Tell(fmt::format("{} goes on as part of the finding of {}", Head(finding), rule));
    return;
  }
  Tell(fmt::format("resolved: {}, last seen at step {}", Head(finding), finding.last_step));
}

}  // namespace wheeltapper::cli
