// Reads an answer while it comes: text, what was thought, and tool calls, from pieces of any size.
// What comes out, joined, does not depend on how the answer was cut.
//
// What looks like a call and is none (a tool that was not offered, arguments that are no JSON) is
// text, and nothing is lost. The arguments of a call are a JSON object when it has ended; an answer
// that is cut in a call leaves them unfinished.
//
// Thread: one caller at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "chat/answer_format.h"
#include "chat/tools.h"

namespace exo::chat {

struct Piece {
  enum class Kind : uint8_t { kText, kReasoning, kCall, kArguments };
  Kind kind = Kind::kText;
  std::string text;  // of kCall: the tool's name
  std::string id;    // of kCall
  uint32_t call = 0;
};

struct ReaderOptions {
  std::vector<Tool> tools;   // none: calls are not looked for
  bool thinking = false;     // the prompt has begun what is thought
  bool constrained = false;  // calls are held to their form while they come
  // The answer is calls, behind what is thought: what an end cuts of one is no text, and names the
  // tool where there is only one.
  bool required = false;
  uint32_t max_calls = UINT32_MAX;
  std::function<std::string()> make_id;
};

class AnswerReader {
 public:
  virtual ~AnswerReader() = default;
  // `text` is UTF-8, with the control tokens of the format written out. Appends to `out`.
  // Calls that are not constrained come when they have ended.
  virtual void Push(std::string_view text, std::vector<Piece>& out) = 0;
  // The end of the answer.
  virtual void Finish(std::vector<Piece>& out) = 0;
  // max_calls have come: the answer is to end here.
  virtual bool finished() const = 0;
  virtual uint32_t calls() const = 0;
};

std::unique_ptr<AnswerReader> MakeAnswerReader(std::shared_ptr<const AnswerFormat> format,
                                               ReaderOptions options);

}  // namespace exo::chat
