// Matrices of a prepared file get memory of their own while their stage already computes from the
// file's mapping. A file is mapped in small pages, which costs decode a fifth of its speed: each
// kilobyte of weights would want a look into the page tables again.
//
// A thread of the lowest priority copies matrix after matrix; the stage takes over what is there
// between two steps (Adopt). The same bytes: no bit of a result changes. Where memory is short
// everything stays mapped.
//
// Thread: all but the copying itself on the stage thread.
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "backend/buffer.h"
#include "backend/cpu/weights.h"

namespace exo::backend {

class ResidentCopy {
 public:
  // `weights` must outlive it, at the same address. Copies nothing when no matrix is mapped.
  ResidentCopy(const kernels::Kernels& kernels, StageWeights& weights);
  // At most the time of one megabyte.
  ~ResidentCopy();

  // Weights that have been copied since are used from their new place. Not while a step computes.
  void Adopt();
  bool complete() const { return adopted_ == moves_.size(); }

 private:
  // Matrices of one tensor, which lie one behind the other.
  struct Move {
    std::vector<kernels::Weights*> weights;
    std::shared_ptr<const void>* owner;
    uint64_t matrix_bytes;
    const std::byte* from;
    std::byte* to;
  };
  void Plan(const kernels::Kernels& kernels, std::vector<kernels::Weights*> weights,
            std::shared_ptr<const void>& owner);
  void Main();
  bool Copy(const Move& move) const;

  StageWeights& weights_;
  std::vector<Move> moves_;
  uint64_t bytes_ = 0;
  Buffer memory_;
  size_t adopted_ = 0;
  std::atomic<size_t> copied_{0};  // moves [0, copied) are complete
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace exo::backend
