#include "app/output.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "sys/standard_streams.h"

namespace exo::app {
namespace {

constexpr int kStandardOutput = 1;

// errno of the first write that failed; stdio forgets it. Commands print from one thread.
int g_failed = 0;
bool g_quiet = false;
bool g_json_errors = false;

void NoteFailure(bool ok) {
  if (ok || g_failed != 0) return;
  g_failed = errno != 0 ? errno : EIO;
}

}  // namespace

void Write(std::string_view text) {
  if (g_failed != 0) return;
  NoteFailure(std::fwrite(text.data(), 1, text.size(), stdout) == text.size());
}

void WriteAnswer(std::string_view text) {
  Write(sys::IsTerminal(kStandardOutput) ? Printable(text, "\n\t") : std::string(text));
  NoteFailure(std::fflush(stdout) == 0);
}

std::string ToText(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void PrintJson(const nlohmann::json& value) {
  Write(ToText(value) + "\n");
}

void EndIfReaderIsGone() {
  if (g_failed == EPIPE) sys::EndAsBrokenPipe();
}

void WriteNote(std::string_view text) {
  if (!g_quiet) std::fwrite(text.data(), 1, text.size(), stderr);
}

void WriteError(std::string_view text) {
  const std::string line = fmt::format("exo: {}\n", Printable(text));
  std::fwrite(line.data(), 1, line.size(), stderr);
}

void ReportError(const Error& error) {
  if (!g_json_errors) return WriteError(error.message);
  const nlohmann::json said = {
      {"error", {{"message", error.message}, {"code", ErrorCodeName(error.code)}}}};
  const std::string line = ToText(said) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

void SetJsonErrors() {
  g_json_errors = true;
}

void SetQuiet() {
  g_quiet = true;
}

Result<void> FlushOutput() {
  NoteFailure(std::fflush(stdout) == 0);
  if (g_failed == 0) return {};
  return Fail(ErrorCode::kIo, "standard output cannot be written, the output is incomplete: {}",
              std::strerror(g_failed));
}

}  // namespace exo::app
