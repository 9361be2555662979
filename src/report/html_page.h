// The frame of the report: head, style, title. One file, nothing fetched, no script.
#pragma once

#include <string>

namespace wheeltapper::report {

// `title` is plain text, `body` is HTML.
std::string HtmlPage(const std::string& title, const std::string& body);

}  // namespace wheeltapper::report
