// One line after another from a terminal, with editing, history and pastes of several lines.
//
// Thread: one. Owner: whoever talks with the user; one at a time, since the terminal is one.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"

namespace exo::sys {

struct LineEditorOptions {
  std::string history_file;  // read at the start, written after each line, mode 0600; empty: none
  int stop_fd = -1;          // of StopSignals: Ctrl-C then ends the line and not the program
};

class LineEditor {
 public:
  // Errors: kUnsupported where standard input is no terminal.
  static Result<std::unique_ptr<LineEditor>> Open(LineEditorOptions options);
  virtual ~LineEditor() = default;

  // What the user enters after `prompt`, without its end. Ctrl-J and pastes put line ends into it.
  // Errors: kCancelled on Ctrl-C, kDisconnected at the end of input (Ctrl-D).
  virtual Result<std::string> Read(const std::string& prompt) = 0;
  // The text can be brought back by the arrow keys, in later runs too. Errors: kIo (the file).
  virtual Result<void> Remember(const std::string& text) = 0;
};

}  // namespace exo::sys
