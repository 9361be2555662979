#include "html_page.h"

#include "svg_chart.h"

namespace wheeltapper::report {
namespace {

constexpr const char* kStyle = R"css(
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--soft:#5b6570;--rule:#d9dee4;--panel:#f5f7f9;
--good:#1a7f4b;--info:#2563a8;--warning:#9a6200;--error:#c02a2a;--critical:#a3123c;
--c0:#2563a8;--c1:#b4530a;--c2:#1a7f4b;--c3:#8a3ab9;--c4:#0e7a86;--c5:#a3123c}
@media (prefers-color-scheme:dark){:root{--paper:#14181d;--ink:#e6eaee;--soft:#9aa5b1;--rule:#323a43;--panel:#1c2229;
--good:#4cc38a;--info:#6cb0f5;--warning:#f0b429;--error:#ff7b72;--critical:#ff6b94;
--c0:#6cb0f5;--c1:#f0a35e;--c2:#4cc38a;--c3:#c89bf0;--c4:#5cc8d4;--c5:#ff6b94}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:2rem 1.25rem 4rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
h1{font-size:1.5rem;margin:0 0 .25rem}h2{font-size:1.15rem;margin:2.5rem 0 .75rem;border-bottom:1px solid var(--rule);padding-bottom:.25rem}
h3{font-size:1rem;margin:1.5rem 0 .5rem}
.soft,.note{color:var(--soft)}.note{font-size:.9rem}
code{font:.9em ui-monospace,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
.verdict{margin:1.25rem 0;padding:.9rem 1.1rem;border-left:5px solid var(--info);background:var(--panel);font-size:1.1rem}
.verdict.healthy{border-color:var(--good)}.verdict.warning{border-color:var(--warning)}
.verdict.not-checked,.verdict.no-data,.verdict.interrupted{border-color:var(--warning)}.verdict.failed,.verdict.error{border-color:var(--error)}.verdict.critical{border-color:var(--critical)}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.75rem;margin:1rem 0}
.facts div{background:var(--panel);padding:.6rem .8rem;border-radius:6px}.facts b{display:block;font-size:1.15rem;font-variant-numeric:tabular-nums}
.facts span{color:var(--soft);font-size:.85rem}
.finding{border:1px solid var(--rule);border-left-width:5px;border-radius:6px;padding:.9rem 1.1rem;margin:1rem 0;break-inside:avoid}
.finding h3{margin:0 0 .4rem}.finding.info{border-left-color:var(--info)}.finding.warning{border-left-color:var(--warning)}
.finding.error{border-left-color:var(--error)}.finding.critical{border-left-color:var(--critical)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem;margin:.6rem 0}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
th:first-child{text-align:left;font-weight:500;font-family:ui-monospace,"DejaVu Sans Mono",monospace}
thead th{color:var(--soft);font-weight:500}.scroll{overflow-x:auto}.trouble th:first-child,.trouble b{color:var(--error)}
figure{margin:1rem 0;break-inside:avoid}figcaption{font-size:.9rem;color:var(--soft);margin-bottom:.25rem}
svg.chart{width:100%;height:auto;background:var(--panel);border-radius:6px}svg.spark{width:122px;height:30px;vertical-align:middle}
svg path{fill:none;stroke-width:1.6;stroke-linejoin:round}
.line0{stroke:var(--c0)}.line1{stroke:var(--c1)}.line2{stroke:var(--c2)}.line3{stroke:var(--c3)}.line4{stroke:var(--c4)}.line5{stroke:var(--c5)}
.dot0{fill:var(--c0)}.dot1{fill:var(--c1)}.dot2{fill:var(--c2)}.dot3{fill:var(--c3)}.dot4{fill:var(--c4)}.dot5{fill:var(--c5)}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;font-size:.85rem;color:var(--soft)}
.legend span::before{content:"";display:inline-block;width:1rem;height:3px;margin-right:.4rem;vertical-align:middle;background:var(--c0)}
.legend .key1::before{background:var(--c1)}.legend .key2::before{background:var(--c2)}.legend .key3::before{background:var(--c3)}
.legend .key4::before{background:var(--c4)}.legend .key5::before{background:var(--c5)}
.grid{stroke:var(--rule);stroke-width:1}.tick{fill:var(--soft);font-size:11px}.bad{fill:var(--error)}
.mark{stroke:var(--error);stroke-width:1.2;stroke-dasharray:4 3}.threshold{stroke:var(--warning);stroke-width:1.2;stroke-dasharray:6 4}
.split{display:flex;height:1.6rem;border-radius:6px;overflow:hidden;background:var(--panel)}
.split i{display:block;height:100%}.split .compute{background:var(--c0)}.split .wait{background:var(--c1)}.split .own{background:var(--c5)}
@media print{body{max-width:none;padding:0;font-size:11pt}.facts div,.verdict,svg.chart{background:none;border:1px solid var(--rule)}}
)css";

}  // namespace

std::string HtmlPage(const std::string& title, const std::string& body) {
  std::string page = "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>";
  page += "<meta name='viewport' content='width=device-width,initial-scale=1'>";
  // Nothing is fetched and nothing runs, whatever a name from the job may hold.
  page +=
      "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src "
      "'unsafe-inline'\">";
  page += "<title>" + EscapeHtml(title) + "</title><style>" + kStyle + "</style></head><body>\n";
  return page + body + "\n</body></html>\n";
}

}  // namespace wheeltapper::report
