#include "render.h"

#include <algorithm>

#include <fmt/format.h>

#include "wheeltapper/rules/rule.h"

namespace wheeltapper::cli {
namespace {

const char* ColourOf(rules::Severity severity) {
  switch (severity) {
    case rules::Severity::kInfo:
      return "\x1b[36m";
    case rules::Severity::kWarning:
      return "\x1b[33m";
    case rules::Severity::kError:
      return "\x1b[31m";
    case rules::Severity::kCritical:
      return "\x1b[1;31m";
  }
  return "";
}

void AddLine(std::string* out, const char* label, const std::string& text) {
  *out += fmt::format("  {:<9} {}\n", label, Printable(text));
}

std::string Where(const rules::Finding& finding) {
  std::string text = finding.tensor.value_or("");
  if (finding.module && !finding.module->empty()) {  // "": the model is that layer
    text += (text.empty() ? "layer " : ", layer ") + *finding.module;
  }
  const std::string steps = finding.last_step > finding.step
                                ? fmt::format("steps {}–{}", finding.step, finding.last_step)
                                : fmt::format("step {}", finding.step);
  text += (text.empty() ? "" : ", ") + steps;
  if (finding.rank) {
    text += fmt::format(", rank {}", finding.rank->value);
  }
  return text;
}

}  // namespace

std::string Printable(const std::string& text) {
  std::string clean = text;
  std::replace_if(
      clean.begin(), clean.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, '?');
  return clean;
}

std::string RenderFinding(const rules::Finding& finding, bool colours) {
  const std::string head =
      fmt::format("{}[{}]", rules::SeverityName(finding.severity), finding.rule);
  std::string out = colours ? fmt::format("{}{}\x1b[0m", ColourOf(finding.severity), head) : head;
  out += ": " + Printable(finding.message);
  out += finding.state == rules::FindingState::kResolved ? " (resolved)\n" : "\n";
  AddLine(&out, "where", Where(finding));
  if (finding.cause) {
    AddLine(&out, "cause", *finding.cause);
  }
  if (finding.try_) {
    AddLine(&out, "try", *finding.try_);
  }
  for (const rules::AlsoSeen& other : finding.also) {
    AddLine(&out, "also", other.text());
  }
  if (rules::FindRule(finding.rule) != nullptr) {  // a rule of the user's is explained by its file
    AddLine(&out, "more", "wheeltapper explain " + finding.rule);
  }
  return out;
}

}  // namespace wheeltapper::cli
