#include "fetch/pieces.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/check.h"

namespace exo::fetch {

using nlohmann::json;

Pieces::Pieces(uint64_t bytes, std::string mark)
    : bytes_(bytes),
      mark_(std::move(mark)),
      filled_((bytes + kPieceBytes - 1) / kPieceBytes),
      claimed_(filled_.size()) {}

uint64_t Pieces::LengthOf(size_t piece) const {
  return std::min(kPieceBytes, bytes_ - piece * kPieceBytes);
}

Result<Pieces> Pieces::Parse(std::string_view text, uint64_t bytes, const std::string& mark) {
  const json parsed = json::parse(text, nullptr, false);
  const auto bad = [] { return Fail(ErrorCode::kCorrupt, "the note of a download is damaged"); };
  if (!parsed.is_object() || !parsed.contains("filled")) return bad();
  if (parsed.value("bytes", json()) != bytes || parsed.value("mark", json()) != mark)
    return Fail(ErrorCode::kCorrupt, "the note of a download is about another file");
  Pieces pieces(bytes, mark);
  const json& filled = parsed["filled"];
  if (!filled.is_array() || filled.size() != pieces.filled_.size()) return bad();
  for (size_t piece = 0; piece < filled.size(); ++piece) {
    if (!filled[piece].is_number_unsigned() || filled[piece] > pieces.LengthOf(piece)) return bad();
    pieces.filled_[piece] = filled[piece].get<uint32_t>();
    pieces.completed_ += pieces.filled_[piece];
  }
  return pieces;
}

std::string Pieces::Text() const {
  return json{{"bytes", bytes_}, {"mark", mark_}, {"filled", filled_}}.dump(
      -1, ' ', true, json::error_handler_t::replace);
}

std::optional<Pieces::Gap> Pieces::Claim(size_t most) {
  for (size_t piece = 0; piece < filled_.size(); ++piece) {
    if (claimed_[piece] || filled_[piece] == LengthOf(piece)) continue;
    Gap gap{.piece = piece, .pieces = 1, .begin = piece * kPieceBytes + filled_[piece], .end = 0};
    for (size_t next = piece + 1; gap.pieces < most && next < filled_.size(); ++next) {
      if (claimed_[next] || filled_[next] > 0) break;
      ++gap.pieces;
    }
    gap.end = std::min(bytes_, (piece + gap.pieces) * kPieceBytes);
    SetClaimed(gap, true);
    return gap;
  }
  return std::nullopt;
}

void Pieces::Add(uint64_t position, uint64_t bytes) {
  completed_ += bytes;
  while (bytes > 0) {
    const auto piece = static_cast<size_t>(position / kPieceBytes);
    CHECK_EQ(position % kPieceBytes, filled_[piece]);
    const uint64_t here = std::min(bytes, LengthOf(piece) - filled_[piece]);
    filled_[piece] += static_cast<uint32_t>(here);
    position += here;
    bytes -= here;
  }
}

void Pieces::Release(const Gap& gap) {
  SetClaimed(gap, false);
}

void Pieces::SetClaimed(const Gap& gap, bool claimed) {
  for (size_t piece = gap.piece; piece < gap.piece + gap.pieces; ++piece) claimed_[piece] = claimed;
}

}  // namespace exo::fetch
