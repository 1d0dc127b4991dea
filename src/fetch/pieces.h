// What of a file has come: it is fetched in pieces, each from its beginning on, several at once.
// Written down beside the file, so that another process goes on with it.
//
// Thread: the owner's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace exo::fetch {

inline constexpr uint64_t kPieceBytes = 16u << 20;

class Pieces {
 public:
  // `mark` tells one state of the file from another: its hash, or what its server calls it.
  Pieces(uint64_t bytes, std::string mark);
  // Of what Text wrote. Errors: kCorrupt, also for a file of another mark or length.
  static Result<Pieces> Parse(std::string_view text, uint64_t bytes, const std::string& mark);
  std::string Text() const;

  const std::string& mark() const { return mark_; }
  uint64_t bytes() const { return bytes_; }
  uint64_t completed() const { return completed_; }
  bool complete() const { return completed_ == bytes_; }

  // Bytes [begin, end) that are missing, of the first piece that nobody has claimed and of those
  // behind it of which nothing has come.
  struct Gap {
    size_t piece = 0, pieces = 0;  // the first, and how many
    uint64_t begin = 0, end = 0;
  };
  // Of `most` pieces at most.
  std::optional<Gap> Claim(size_t most);
  size_t count() const { return filled_.size(); }
  // Bytes [position, position + bytes) have come, right behind what each of their pieces has.
  void Add(uint64_t position, uint64_t bytes);
  // The transfer of a gap has ended: what is missing of it is there to be claimed.
  void Release(const Gap& gap);

 private:
  uint64_t LengthOf(size_t piece) const;
  void SetClaimed(const Gap& gap, bool claimed);

  uint64_t bytes_;
  std::string mark_;
  uint64_t completed_ = 0;
  std::vector<uint32_t> filled_;  // bytes, from each piece's beginning
  std::vector<bool> claimed_;
};

}  // namespace exo::fetch
