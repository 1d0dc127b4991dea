// What commands print: color only on a terminal and without NO_COLOR, tables, progress lines.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace exo::app {

// True when standard output is a terminal that knows escapes, or CLICOLOR_FORCE is set; and neither
// NO_COLOR nor --no-color says otherwise.
bool UseColor();
// As `--no-color`.
void SetNoColor();
// True when a line that was written there can be overwritten.
bool CanRedraw(int fd);
std::string Dim(const std::string& text);
std::string Bold(const std::string& text);

// Characters as a terminal counts them.
size_t Columns(const std::string& text);
// Broken between words so that lines have at most so many columns, where words allow; further lines
// begin with `indent` spaces.
std::string Wrapped(const std::string& text, size_t columns, size_t indent);

// As much of one line as a terminal of so many columns shows without going on in a second one.
std::string Fitted(const std::string& text, size_t columns);

// Columns padded to their widest cell; the first row is the heading. Cells are made Printable
// (base/text.h): names come from files and other devices.
std::string Table(std::vector<std::vector<std::string>> rows);

// "2026-01-31 12:00 UTC" for seconds since 1970; "never" for 0.
std::string TimeText(int64_t seconds);

// A line on standard error that is overwritten on a terminal and printed once per change elsewhere.
class ProgressLine {
 public:
  ~ProgressLine();
  void Show(const std::string& text);
  void Clear();

 private:
  std::string shown_;
};

}  // namespace exo::app
