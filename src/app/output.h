// What commands print. Standard output is the result: when it cannot be written the command fails
// (exit 1), but a reader that has seen enough (`exo models | head -1`) ends it quietly. Standard
// error is advice: losing it changes nothing. Nothing here throws.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace exo::app {

// To standard output, as it is. Text of others goes through Printable (base/text.h) first.
void Write(std::string_view text);
template <class... Args>
void Print(fmt::format_string<Args...> format, Args&&... args) {
  Write(fmt::format(format, std::forward<Args>(args)...));
}
// A piece of an answer at once, as it comes from a model: on a terminal its control characters but
// line ends and tabs are escaped.
void WriteAnswer(std::string_view text);
// One JSON value as a line. Strings that are not UTF-8 get U+FFFD.
void PrintJson(const nlohmann::json& value);
std::string ToText(const nlohmann::json& value);

// To standard error: advice and progress, unless `--quiet` has silenced them.
void WriteNote(std::string_view text);
template <class... Args>
void Note(fmt::format_string<Args...> format, Args&&... args) {
  WriteNote(fmt::format(format, std::forward<Args>(args)...));
}

// "exo: TEXT" as a line on standard error, made Printable: why something fails.
void WriteError(std::string_view text);
// The last word of a command that fails: such a line, or {"error": {message, code}} after
// SetJsonErrors; `code` is ErrorCodeName's.
void ReportError(const Error& error);
// From now on ReportError writes JSON: the command line has `--json`.
void SetJsonErrors();
// From now on no advice is written.
void SetQuiet();

// Writes out what is buffered. Errors: kIo when any of this process's output was lost, then and
// before.
Result<void> FlushOutput();

// Ends the process quietly, as SIGPIPE does, when output was lost for that reason although SIGPIPE
// is ignored: by who started this process, or by a command that has to clean up first.
void EndIfReaderIsGone();

}  // namespace exo::app
