// The tree of a parsed template. Immutable after parsing; owned by the template.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model/jinja/value.h"

namespace exo::model::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<const Expr>;

struct Argument {
  std::string name;  // empty: by position
  ExprPtr value;
};

enum class ExprKind {
  kLiteral,    // value
  kName,       // name
  kCaptured,   // the text of the block being captured
  kList,       // parts
  kTuple,      // parts
  kDict,       // parts: key, value, key, …
  kAttribute,  // parts[0], name
  kItem,       // parts[0], parts[1]
  kSlice,      // parts[0], start, stop, step (null: absent)
  kCall,       // parts[0], arguments
  kFilter,     // parts[0], name, arguments
  kTest,       // parts[0], name, arguments, negated
  kNot,        // parts[0]
  kNegate,     // parts[0]
  kPlus,       // parts[0]
  kBinary,     // parts[0], parts[1], name
  kAnd,        // parts[0], parts[1]
  kOr,         // parts[0], parts[1]
  kConcat,     // parts
  kCompare,    // parts[0] names[0] parts[1] names[1] parts[2] …
  kCondition,  // parts: then, condition, else (null: absent)
};

struct Expr {
  ExprKind kind = ExprKind::kLiteral;
  int line = 0;
  int height = 1;  // of the tree below, bounded by the parser
  Value value;
  std::string name;
  std::vector<std::string> names;
  std::vector<ExprPtr> parts;
  std::vector<Argument> arguments;
  bool negated = false;
};

struct Stmt;
using Body = std::vector<std::unique_ptr<const Stmt>>;

struct MacroDef {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExprPtr> defaults;  // null: none
  Body body;
};

struct Branch {
  ExprPtr condition;  // null: else
  Body body;
};

enum class StmtKind {
  kData,
  kPrint,
  kIf,
  kFor,
  kSet,
  kSetBlock,
  kMacro,
  kCallBlock,
  kFilterBlock,
  kWith,
  kBreak,
  kContinue
};

struct Stmt {
  StmtKind kind = StmtKind::kData;
  int line = 0;
  std::string data;   // kData
  ExprPtr expr;       // kPrint, kSet (value), kFor (iterable), kSetBlock and kFilterBlock (filters)
  ExprPtr condition;  // kFor: the filter
  std::vector<std::string> targets;  // kFor, kSet, kSetBlock, kWith: names; more than one unpacks
  std::string attribute;             // kSet on a namespace: targets[0].attribute
  std::vector<ExprPtr> values;       // kWith
  std::vector<Branch> branches;      // kIf
  Body body;
  Body otherwise;                         // kFor
  std::unique_ptr<const MacroDef> macro;  // kMacro, kCallBlock
};

}  // namespace exo::model::jinja
