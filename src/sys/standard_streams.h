// Standard input, output and error as a program must treat them: any of them may be closed, full,
// or a pipe whose reader is gone, and none of that may end a node.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/log.h"
#include "base/result.h"
#include "base/units.h"
#include "sys/log_line.h"

namespace exo::sys {

// Gives descriptors 0, 1 and 2 a place-holder where they are closed, so that no socket or database
// gets their number. Reading or writing a place-holder fails. Call first of all.
void GuardStandardStreams();

// From now on a write to a pipe or socket without a reader fails instead of ending the process.
void IgnoreBrokenPipes();
// Ends this process as a broken pipe ends others: quietly, by SIGPIPE.
[[noreturn]] void EndAsBrokenPipe();

bool IsTerminal(int fd);
// Characters in a line of a terminal; nothing: it is none, or does not say.
std::optional<unsigned> TerminalColumns(int fd);

// Writes all of `bytes` and blocks for it. Errors: kIo with the system's reason; errno stays set.
Result<void> WriteAll(int fd, std::string_view bytes);

enum class InputKind { kTerminal, kFileOrPipe, kNothing };
// What standard input is; kNothing: closed, or a device such as /dev/null.
InputKind StandardInputKind();
// All of standard input. Errors: kOverloaded beyond `limit` bytes; kDisconnected when no byte and
// no end has come within `first_byte` (zero: no limit); kIo.
Result<std::string> ReadStandardInput(size_t limit, Time first_byte = Time(0));
// What there is of standard input, at least a byte; waits for it. Empty: its end. Errors: kIo.
Result<std::string> ReadSomeInput();
// One line: from a terminal without showing it, after `prompt` on standard error; else as it comes.
// Errors: kCancelled on Ctrl-C, with the terminal as it was.
Result<std::string> ReadHiddenLine(std::string_view prompt);

// The log sink of a node: one line on standard error with time, level and node. A line that cannot
// be written at once (full disk, no reader, reader too slow) is dropped and counted; the next line
// that gets through says how many are missing. Control characters are escaped. Thread: any.
void LogToStderr(LogLevel level, std::string_view line);
// Who speaks, e.g. "kitchen/1f3a09b2". Empty (at first): "exo warning: ..." without a time, as
// short-lived commands print.
void SetLogNode(std::string_view node);
// How the lines of a node look: text at first.
void SetLogFormat(LogFormat format);
uint64_t LostLogLines();

}  // namespace exo::sys
