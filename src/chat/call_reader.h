// One call after the text that begins it, in any of the forms but channels.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "chat/answer_reader.h"
#include "chat/object_reader.h"
#include "chat/piece_writer.h"

namespace exo::chat {

class CallReader {
 public:
  enum class Step : uint8_t { kMore, kDone, kBad };

  CallReader(const CallSyntax& syntax, const ReaderOptions& options, PieceWriter& out);

  // Reads from `text` what is certain and shortens it; the rest comes again, with more behind it.
  // `last`: nothing more comes. The call is begun with `out`, but neither ended nor dropped.
  Step Read(std::string_view& text, bool last);
  // What is missing of the arguments, so that they are JSON.
  std::string Rest() const;

 private:
  enum class State : uint8_t {
    kObject,
    kName,
    kIndex,
    kAfterName,
    kId,
    kArguments,
    kParameters,
    kValue,
    kValues
  };
  Step ReadObject(std::string_view& text);
  Step ReadName(std::string_view& text, bool last);
  Step ReadIndex(std::string_view& text, bool last);
  Step ReadAfterName(std::string_view& text);
  Step ReadId(std::string_view& text);
  Step ReadArguments(std::string_view& text);
  Step ReadParameter(std::string_view& text);
  void SkipJson(std::string_view text);
  Step ReadValue(std::string_view& text);
  Step ReadValues(std::string_view& text);
  bool Begin(const std::string& name, std::string id);
  // Takes a literal; kDone when it was there.
  static Step Take(std::string_view& text, std::string_view literal);

  const CallSyntax& syntax_;
  const ReaderOptions& options_;
  PieceWriter& out_;
  State state_;
  ObjectReader object_;
  JsonScanner scanner_;
  const Tool* tool_ = nullptr;
  std::string name_, index_;
  bool arguments_ = false;  // their text has begun
  std::string key_;         // of the parameter at work
  std::set<std::string> keys_;
  bool quoted_ = false;  // its value is a string, whatever the schema says
  bool nested_ = false;  // it is JSON that has not ended
  size_t searched_ = 0;  // of the value
};

}  // namespace exo::chat
