#include "app/terminal.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>

#include "app/output.h"
#include "base/text.h"
#include "sys/standard_streams.h"

namespace exo::app {
namespace {

bool g_no_color = false;

bool IsSet(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != 0;
}

// A terminal that understands no escapes says so.
bool IsDumb() {
  const char* name = std::getenv("TERM");
  return name != nullptr && std::string_view(name) == "dumb";
}

std::string Paint(const char* code, const std::string& text) {
  return UseColor() ? fmt::format("\033[{}m{}\033[0m", code, text) : text;
}

}  // namespace

size_t Columns(const std::string& text) {
  // UTF-8 continuation bytes take no column.
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

bool UseColor() {
  if (g_no_color || IsSet("NO_COLOR")) return false;
  const char* force = std::getenv("CLICOLOR_FORCE");
  if (force != nullptr && *force != 0 && std::string_view(force) != "0") return true;
  return sys::IsTerminal(1) && !IsDumb();
}
void SetNoColor() {
  g_no_color = true;
}
bool CanRedraw(int fd) {
  return sys::IsTerminal(fd) && !IsDumb();
}
std::string Dim(const std::string& text) {
  return Paint("2", text);
}
std::string Bold(const std::string& text) {
  return Paint("1", text);
}

std::string Table(std::vector<std::vector<std::string>> rows) {
  for (auto& row : rows) {
    for (std::string& cell : row) cell = Printable(cell);
  }
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Columns(row[i]));
  }
  std::string text;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::string line;
    for (size_t i = 0; i < rows[r].size(); ++i) {
      line += rows[r][i];
      if (i + 1 < rows[r].size()) line += std::string(widths[i] - Columns(rows[r][i]) + 2, ' ');
    }
    text += (r == 0 ? Dim(line) : line) + "\n";
  }
  return text;
}

// A line that is too long would go on in a second one, which no redraw takes back. The last column
// stays free: some terminals go on when it is filled.
std::string Fitted(const std::string& text, size_t columns) {
  if (columns < 2 || Columns(text) < columns) return text;
  size_t end = 0, used = 0;
  while (end < text.size() && used + 1 < columns) {
    ++used;
    do ++end;
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80);
  }
  return text.substr(0, end);
}

ProgressLine::~ProgressLine() {
  Clear();
}

void ProgressLine::Show(const std::string& text) {
  if (text == shown_) return;
  if (CanRedraw(2)) {
    Note("\r\033[K{}", Fitted(Printable(text), sys::TerminalColumns(2).value_or(80)));
  } else {
    Note("{}\n", Printable(text));
  }
  shown_ = text;
}

void ProgressLine::Clear() {
  if (!shown_.empty() && CanRedraw(2)) WriteNote("\r\033[K");
  shown_.clear();
}

std::string Wrapped(const std::string& text, size_t columns, size_t indent) {
  std::string wrapped;
  size_t used = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    if (used > indent && used + 1 + Columns(word) > columns) {
      wrapped += "\n" + std::string(indent, ' ');
      used = indent;
    } else if (at > 0) {
      wrapped += ' ';
      ++used;
    }
    wrapped += word;
    used += Columns(word);
    at = end + 1;
  }
  return wrapped + "\n";
}

std::string TimeText(int64_t seconds) {
  if (seconds == 0) return "never";
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[32];
  (void)std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", &parts);
  return text;
}

}  // namespace exo::app
