// The fastest way of one token through stages of layers: which nodes, in which order, and where the
// layers are cut. Exact for up to kExactNodes nodes, whatever their links; for more the nodes are
// taken in one order (the fastest first, behind guests), which is exact where all links are alike
// and all layers too, and otherwise a good guess.
//
// Thread: pure, any thread. Cost: exact 4^n / 4 x layers simple steps (8 nodes and 80 layers: 2 to
// 3 million), else nodes^3 x layers (32 and 80: 2.6 million).
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace exo::cluster {

inline constexpr size_t kExactNodes = 8;

// A node as a stage, for layers [0, layers). Times are those of work between pauses.
struct PipelineNode {
  std::vector<double> layer_ms;  // sums: of layers [0, i), i up to the number of layers
  double visit_ms = 0;           // of any stage
  double lead_ms = 0;            // of the lead in addition
  double duty = 1;               // without a pause they are divided by this
  uint64_t memory = 0;           // bytes available
  uint64_t stage_bytes = 0;      // of any stage beside its layers
  uint64_t lead_bytes = 0;       // of the lead in addition
  bool inner_only = false;       // neither the lead nor the last stage
};
struct PipelineProblem {
  std::vector<PipelineNode> nodes;
  std::vector<uint64_t> layer_bytes;        // sums, as layer_ms
  std::vector<std::vector<double>> hop_ms;  // from node to node
  // No stage may take longer without a pause, the output matrix included.
  double longest_stage_ms = std::numeric_limits<double>::infinity();

  size_t layers() const { return layer_bytes.size() - 1; }
};
struct Pipeline {
  std::vector<size_t> nodes;   // of `PipelineProblem::nodes`, the lead first; none: impossible
  std::vector<uint32_t> ends;  // of each stage's layers
  double token_ms = std::numeric_limits<double>::infinity();
};

// [k]: that of k + 1 stages, each with one layer at least.
std::vector<Pipeline> FastestPipelines(const PipelineProblem& problem);

}  // namespace exo::cluster
