// The `exo` command: parses the command line and hands over to one function per command.
#include <algorithm>
#include <exception>
#include <span>
#include <string_view>

#include "app/commands.h"
#include "app/exit_codes.h"
#include "app/output.h"
#include "app/terminal.h"
#include "app/usage.h"
#include "base/log.h"
#include "base/text.h"
#include "sys/standard_streams.h"

namespace exo::app {
namespace {

int Report(const Result<void>& result) {
  const Result<void> flushed = FlushOutput();
  if (!result) {
    ReportError(result.error());
    return ExitCodeFor(result.error().code);
  }
  EndIfReaderIsGone();
  if (flushed) return kExitOk;
  ReportError(flushed.error());
  return kExitError;
}

// Prints help, or what was wrong with the command line.
int ReportParse(const CLI::App& app, const CLI::ParseError& error) {
  const Usage usage = ExplainParse(app, error);
  if (!usage.wrong) {
    Write(usage.text);
    return Report({});
  }
  ReportError({ErrorCode::kInvalid, usage.text});
  return kExitUsage;
}

// Looked for without the parser, which may not get as far as that word. Behind `--` are words for
// another program.
bool WantsJson(std::span<char*> words) {
  const auto end = std::ranges::find(words, std::string_view("--"));
  return std::find(words.begin(), end, std::string_view("--json")) != end;
}

Result<void> Execute(const Commands& commands) {
  const Settings settings = TRY(ReadSettings(commands.Sources()));
  SetLog(sys::LogToStderr, settings.log);
  return commands.chosen(settings);
}

int Main(int argc, char** argv) {
  sys::GuardStandardStreams();
  SetLog(sys::LogToStderr, LogLevel::kWarning);
  if (WantsJson({argv, static_cast<size_t>(argc)})) SetJsonErrors();
  Commands commands;
  try {
    commands.app.parse(argc, argv);
    if (commands.quiet) SetQuiet();
    if (commands.no_color) SetNoColor();
    return Report(Execute(commands));
  } catch (const CLI::ParseError& error) {
    return ReportParse(commands.app, error);
  } catch (const std::exception& error) {  // of a library: nothing of ours throws
    return Report(Fail(ErrorCode::kIo, "unexpected: {}", error.what()));
  }
}

}  // namespace
}  // namespace exo::app

int main(int argc, char** argv) {
  return exo::app::Main(argc, argv);
}
