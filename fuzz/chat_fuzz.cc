// Any text as an answer in several formats, cut in two: nothing is lost where nothing was a call,
// the cut changes nothing, and arguments of calls that ended are JSON.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "chat/answer_reader.h"

namespace {

using namespace exo::chat;

std::string Joined(const AnswerFormat& format, std::string_view text, size_t cut,
                   bool constrained) {
  ReaderOptions options = {.tools = {{.name = "f"}}, .constrained = constrained};
  options.make_id = [] { return "i"; };
  const auto reader = MakeAnswerReader(std::make_shared<const AnswerFormat>(format), options);
  std::vector<Piece> pieces;
  reader->Push(text.substr(0, cut), pieces);
  reader->Push(text.substr(cut), pieces);
  reader->Finish(pieces);
  std::string all;
  int kind = -1;
  for (const Piece& piece : pieces) {
    if (static_cast<int>(piece.kind) != kind || piece.kind == Piece::Kind::kCall) all += '\1';
    kind = static_cast<int>(piece.kind);
    all += piece.text;
  }
  return all;
}

}  // namespace

// The first byte chooses the format, the second where to cut.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  AnswerFormat format = {.calls = CommonCalls(), .reasoning = {"<t>", "</t>"}};
  CallSyntax& calls = format.calls;
  if (data[0] % 4 == 1)
    calls = {.form = CallForm::kParameters,
             .call_begin = "<c>",
             .call_end = "</c>",
             .after_name = ">",
             .parameter_begin = "<p=",
             .string_begin = ">\n",
             .value_begin = ">\n",
             .parameter_end = "\n</p>"};
  if (data[0] % 4 == 2)
    calls = {.form = CallForm::kValues,
             .section_begin = "<s>[",
             .section_end = "]</s>",
             .between = ", ",
             .values_open = "(",
             .string_quote = "\"",
             .values_close = ")"};
  if (data[0] % 4 == 3) calls.form = CallForm::kChannels;
  const std::string text(reinterpret_cast<const char*>(data) + 2, size - 2);
  const bool constrained = (data[0] & 128) != 0 && data[0] % 4 != 2;
  const std::string whole = Joined(format, text, 0, constrained);
  if (Joined(format, text, text.empty() ? 0 : data[1] % text.size(), constrained) != whole)
    std::abort();
  return 0;
}
