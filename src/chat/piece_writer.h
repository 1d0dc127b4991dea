// What a reader of answers has found, on its way out: white space around calls and thoughts is left
// out, and calls wait until they are certain.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chat/answer_reader.h"

namespace exo::chat {

class PieceWriter {
 public:
  explicit PieceWriter(const ReaderOptions& options) : options_(options) {}

  void SetOut(std::vector<Piece>* out) { out_ = out; }

  // White space at the end waits for what follows.
  void Text(Piece::Kind kind, std::string_view text) {
    if (ending_ && options_.required && kind == Piece::Kind::kText) {
      cut_ = cut_ || !std::ranges::all_of(text, IsBlank);
      return;
    }
    if (kind != kind_) space_.clear();
    kind_ = kind;
    size_t end = text.size();
    while (end > 0 && IsBlank(text[end - 1])) --end;
    if (end == 0 && skip_space_) return;
    if (end > 0) {
      if (skip_space_) text = text.substr(std::min(text.find_first_not_of(" \t\r\n"), end));
      end = text.size();
      while (end > 0 && IsBlank(text[end - 1])) --end;
      skip_space_ = false;
      Add(kind, space_ + std::string(text.substr(0, end)));
      space_.clear();
    }
    space_ += text.substr(end);
  }
  // What follows begins with its first character that is no white space.
  void Turn() {
    space_.clear();
    skip_space_ = true;
  }

  void BeginCall(std::string name, std::string id) {
    held_.push_back({.kind = Piece::Kind::kCall,
                     .text = std::move(name),
                     .id = id.empty() ? options_.make_id() : std::move(id),
                     .call = calls_});
    begun_ = true;
    Release(options_.constrained);
  }
  void Arguments(std::string_view text) {
    if (text.empty()) return;
    if (!held_.empty() && held_.back().kind == Piece::Kind::kArguments) {
      held_.back().text += text;
    } else {
      held_.push_back(
          {.kind = Piece::Kind::kArguments, .text = std::string(text), .id = "", .call = calls_});
    }
    Release(options_.constrained);
  }
  void EndCall() {
    Release(true);
    ++calls_;
    begun_ = false;
  }
  // The call is none after all. Not after committed().
  void DropCall() {
    held_.clear();
    begun_ = false;
  }
  bool begun() const { return begun_; }
  // The reader of the answer knows of the call already.
  bool committed() const { return begun_ && held_.empty(); }
  uint32_t calls() const { return calls_; }

  // What is written from here on was waiting when the answer ended.
  void BeginFinish() { ending_ = true; }
  // The beginning of a call, without its name, was the end of the answer.
  void NoteCut() { cut_ = ending_ && options_.required; }
  // The end of the answer.
  void Finish() {
    if (cut_ && calls_ == 0 && !begun_ && options_.tools.size() == 1)
      BeginCall(options_.tools[0].name, "");
    if (!space_.empty() && kind_ == Piece::Kind::kText) Add(kind_, std::exchange(space_, ""));
  }

 private:
  static bool IsBlank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }
  void Add(Piece::Kind kind, std::string text) {
    if (!out_->empty() && out_->back().kind == kind) {
      out_->back().text += text;
    } else {
      out_->push_back({.kind = kind, .text = std::move(text), .id = "", .call = 0});
    }
  }
  void Release(bool now) {
    if (!now) return;
    for (Piece& piece : held_) {
      if (piece.kind == Piece::Kind::kCall) Turn();
      out_->push_back(std::move(piece));
    }
    held_.clear();
  }

  const ReaderOptions& options_;
  std::vector<Piece>* out_ = nullptr;
  Piece::Kind kind_ = Piece::Kind::kText;
  std::string space_;
  bool skip_space_ = false;
  std::vector<Piece> held_;  // of the call at work
  bool begun_ = false;
  bool ending_ = false;
  bool cut_ = false;
  uint32_t calls_ = 0;
};

}  // namespace exo::chat
