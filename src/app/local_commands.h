// Commands that compute in this process, without a node: bench, logits, tokenize.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/settings.h"
#include "base/result.h"
#include "kernels/kernels.h"

namespace exo::app {

struct BenchOptions {
  std::string model;
  uint32_t pp = 512;
  uint32_t tg = 128;
  uint32_t depth = 0;  // positions in the cache before each test
  uint32_t batch = 1;  // sequences decoded together
  uint32_t runs = 3;
  uint32_t chunk = 256;
  unsigned threads = 0;         // 0: all cores
  unsigned nodes = 0;           // 0: in this process; else over a demo cluster of so many nodes
  std::string split = "layer";  // of the cluster; likewise wire
  std::string wire = "f32";
  std::string replay;  // file of recorded tokens: pp of them as prompt, tg as its answer
  kernels::KvType kv = kernels::KvType::kF16;
  bool json = false;
};
// Prompt and decode speed, load time and memory: the measure and field names of tools that time
// llama.cpp.
Result<void> RunBench(const Settings& settings, const BenchOptions& options);
// Speculation on a recorded text: its answer with drafts and without, in turns.
Result<void> RunReplay(const Settings& settings, const BenchOptions& options);

struct LogitsOptions {
  std::string model;
  std::string prompt;
  bool raw = true;
  unsigned threads = 0;
  uint32_t chunk = 256;
  kernels::KvType kv = kernels::KvType::kF16;
  std::vector<std::string> lora = {};  // FILE[:SCALE]
  std::string out;                     // f32 [positions][vocab], little-endian
  bool json = false;
};
Result<void> RunLogits(const Settings& settings, const LogitsOptions& options);

struct TokenizeOptions {
  std::string model;
  std::string file;      // empty: standard input
  bool special = false;  // control tokens in the text are recognized
  bool json = false;
};
Result<void> RunTokenize(const Settings& settings, const TokenizeOptions& options);

}  // namespace exo::app
