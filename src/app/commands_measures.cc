#include "app/commands.h"
#include "app/option_checks.h"

namespace exo::app {

void Commands::AddDemo() {
  demo_.ask.model = "exo-tiny";
  demo_.ask.prompt = "What is exo?";
  demo_.ask.temperature = 0;
  CLI::App* c = Add("demo", "a cluster of several nodes on this machine answers a question",
                    [this](const Settings& settings) {
                      TakeAsk("demo", demo_.ask);
                      if (!demo_.ask.max_tokens) demo_.ask.max_tokens = 128;
                      return RunDemo(settings, demo_);
                    });
  c->add_option("--nodes", demo_.nodes, "how many (default 3)")->check(Between(1, 16));
  c->add_option("--threads", demo_.threads, "compute threads of each (default 1)")
      ->check(Between(1, kMaxThreads));
  AddSplit(c, demo_.split);
  AddWire(c, demo_.wire);
  c->add_option("--model", demo_.ask.model, "name or path of a GGUF file");
  c->add_option("--prompt", demo_.ask.prompt, "the question");
  AddAsk(c, demo_.ask);
}

void Commands::AddBench() {
  CLI::App* b = Add("bench", "measure prompt and decode speed, load time and memory",
                    [this](const Settings& settings) -> Result<void> {
                      bench_.kv = TRY(kernels::KvTypeNamed(kv_));
                      if (!bench_.replay.empty()) return RunReplay(settings, bench_);
                      return bench_.nodes > 0 ? RunClusterBench(settings, bench_)
                                              : RunBench(settings, bench_);
                    });
  b->add_option("--model", bench_.model, "name or path of a GGUF file")->required();
  b->add_option("--pp", bench_.pp, "prompt tokens (512; 0: none)")
      ->check(Between(0, kMaxPositions));
  b->add_option("--tg", bench_.tg, "generated tokens (128; 0: none)")
      ->check(Between(0, kMaxPositions));
  b->add_option("--depth", bench_.depth, "tokens already in the cache")
      ->check(Between(0, kMaxPositions));
  b->add_option("--batch", bench_.batch, "sequences decoded together")->check(Between(1, 1024));
  b->add_option("--threads", bench_.threads, "compute threads (default: all cores)")
      ->check(Between(1, kMaxThreads));
  b->add_option("--runs", bench_.runs, "repetitions; medians are printed (3)")
      ->check(Between(1, 10000));
  b->add_option("--chunk", bench_.chunk, "prompt tokens of one step (256)")
      ->check(Between(1, 8192));
  b->add_option("--nodes", bench_.nodes, "measure a cluster of so many nodes on this machine")
      ->check(Between(1, 16));
  AddSplit(b, bench_.split)->needs("--nodes");
  AddWire(b, bench_.wire)->needs("--nodes");
  b->add_option("--replay", bench_.replay,
                "file of recorded tokens (exo tokenize --json): --pp of them are the prompt, the "
                "next --tg the answer; compares decoding with speculation and without")
      ->excludes("--nodes", "--depth", "--batch");
  b->add_option("--kv", kv_, "type of the KV cache: f16, f32 or q8_0");
  b->add_flag("--json", bench_.json);
}

void Commands::AddLogits() {
  CLI::App* l = Add("logits", "write the logits of each position of a prompt",
                    [this](const Settings& settings) -> Result<void> {
                      logits_.kv = TRY(kernels::KvTypeNamed(kv_));
                      return RunLogits(settings, logits_);
                    });
  l->add_option("--model", logits_.model, "name or path of a GGUF file")->required();
  l->add_option("--prompt", logits_.prompt, "the text")->required();
  l->add_flag("--raw", logits_.raw, "no chat template (always so here)");
  l->add_option("--threads", logits_.threads, "compute threads (default: all cores)")
      ->check(Between(1, kMaxThreads));
  l->add_option("--chunk", logits_.chunk, "positions of one step")->check(Between(1, 8192));
  l->add_option("--kv", kv_, "type of the KV cache: f16, f32 or q8_0");
  l->add_option("--lora", logits_.lora, "with a low-rank adapter: FILE[:SCALE]")
      ->allow_extra_args(false);
  l->add_option("--out", logits_.out, "file: f32 [positions][vocabulary]")->required();
  l->add_flag("--json", logits_.json);

  CLI::App* t = Add("tokenize", "print the token ids of a text",
                    [this](const Settings& settings) { return RunTokenize(settings, tokenize_); });
  t->add_option("--model", tokenize_.model, "name or path of a GGUF file")->required();
  t->add_option("--file", tokenize_.file, "the text (default: standard input)");
  t->add_flag("--special", tokenize_.special, "control tokens written in the text are recognized");
  t->add_flag("--json", tokenize_.json);
}

}  // namespace exo::app
