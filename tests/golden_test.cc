// The exact bits of whole models: SHA-256 of all logits for each model, weight format, cache type
// and prompt. tests/golden/logits.txt holds them under the numerics id they belong to. A change of
// any bit fails here; when the arithmetic is changed on purpose, kernels::kArithmeticVersion grows
// and EXO_UPDATE_GOLDEN=1 writes a new file.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "backend/devices.h"
#include "base/sha256.h"
#include "engine/local.h"
#include "kernels/kernels.h"
#include "kernels/numerics.h"
#include "store/model.h"
#include "tests/support/shared_data.h"

namespace exo {
namespace {

constexpr const char* kGoldenFile = EXO_SOURCE_DIR "/tests/golden/logits.txt";
// Fixed ids below every vocabulary used here; the second prompt is longer than a chunk and than a
// leaf.
std::vector<std::vector<TokenId>> Prompts() {
  std::vector<TokenId> longer;
  for (int i = 0; i < 150; ++i) longer.push_back((i * i * 7 + 3 * i + 1) % 509);
  return {{1}, {1, 403, 407, 261, 378}, longer};
}

struct Golden {
  std::string numerics;
  std::map<std::string, std::string> hashes;  // "model kv prompt" -> SHA-256
};

Golden ReadGolden() {
  Golden golden;
  std::ifstream in(kGoldenFile);
  std::string line;
  while (std::getline(in, line)) {
    if (line.empty() || line[0] == '#') continue;
    const size_t space = line.rfind(' ');
    const std::string key = line.substr(0, space), value = line.substr(space + 1);
    if (key == "numerics") {
      golden.numerics = value;
    } else {
      golden.hashes[key] = value;
    }
  }
  return golden;
}

void WriteGolden(const Golden& golden) {
  std::ofstream out(kGoldenFile);
  out << "# SHA-256 of the f32 logits of all positions; see tests/golden_test.cc\n";
  out << "numerics " << golden.numerics << "\n";
  for (const auto& [key, hash] : golden.hashes) out << key << " " << hash << "\n";
}

// Hashes of one model on one instruction set.
void HashModel(const std::string& path, kernels::Isa isa, Golden& golden) {
  const auto backend =
      backend::MakeBackend({.isa = std::string(kernels::IsaName(isa)), .threads = 2}).value();
  const auto file = store::ModelFile::Open(path);
  ASSERT_TRUE(file) << file.error().message;
  const auto& manifest = (*file)->manifest();
  const auto source = (*file)->MakeSource().value();
  for (const kernels::KvType kv :
       {kernels::KvType::kF16, kernels::KvType::kF32, kernels::KvType::kQ8_0}) {
    auto model = engine::LocalModel::Load(*backend, manifest.config(), manifest.tensors(), *source,
                                          {.kv_type = kv, .chunk = 64});
    ASSERT_TRUE(model) << model.error().message;
    const auto prompts = Prompts();
    for (size_t i = 0; i < prompts.size(); ++i) {
      std::vector<float> logits(prompts[i].size() * manifest.config()->vocab);
      ASSERT_TRUE((*model)->Open(1, 512));
      ASSERT_TRUE((*model)->Append(1, 0, prompts[i], prompts[i].size(), logits));
      (*model)->Close(1);
      golden.hashes[fmt::format("{}/{} {} {}", (*file)->name(), manifest.id().Short(),
                                kernels::KvTypeName(kv), i)] =
          Sha256Of(std::as_bytes(std::span(logits))).Hex();
    }
  }
}

std::vector<std::string> GoldenModels() {
  std::vector<std::string> paths = {EXO_SOURCE_DIR "/models/exo-tiny.gguf"};
  for (const char* format : {"f32", "f16", "bf16", "q8_0", "q4_0"}) {
    paths.push_back(testing::SharedPath(
        fmt::format("data/models/stories260K/gguf/stories260K-{}.gguf", format)));
  }
  return paths;
}

TEST(GoldenTest, LogitsHaveTheRecordedBitsOnEveryInstructionSet) {
  EXO_NEED_SHARED("data/models/stories260K");
  Golden expected = ReadGolden();
  const bool update = std::getenv("EXO_UPDATE_GOLDEN") != nullptr;
  for (const kernels::Isa isa : kernels::kIsas) {
    const auto kernels = kernels::KernelsFor(isa);
    if (!kernels) continue;
    Golden got;
    got.numerics = kernels::ComputeNumericsId(**kernels).Hex();
    for (const std::string& path : GoldenModels()) HashModel(path, isa, got);
    if (update && isa == kernels::Isa::kReference) {
      WriteGolden(got);
      expected = got;
    }
    EXPECT_EQ(got.numerics, expected.numerics) << kernels::IsaName(isa);
    EXPECT_EQ(got.hashes, expected.hashes) << kernels::IsaName(isa);
  }
}

}  // namespace
}  // namespace exo
