// What the callers of all ops do alike.
#include "kernels/op.h"

#include <map>
#include <utility>

namespace yolov1 {
namespace {

std::string Text(const View& view) { return DTypeName(view.type) + (" " + ShapeText(view.shape)); }

}  // namespace

std::string Infer(const Op& op, Call* call) {
  if (call->in.size() != op.inputs.size())
    return std::string(op.face) + ": " + op.name + " takes " + std::to_string(op.inputs.size()) +
           " inputs, got " + std::to_string(call->in.size()) + ".";
  call->out.resize(op.results());
  std::string error = op.infer(call);
  for (size_t k = 0; call->left_out != 0 && k < call->out.size(); ++k)
    if (call->LeftOut(k)) call->out[k].shape.assign({0});
  return error;
}

std::string ConfigureAgain(const Op& op, std::string_view text, Call* call) {
  if (op.configure == nullptr) return "";
  struct Last {
    std::string text;
    std::shared_ptr<const void> config;  // null: there is none
  };
  thread_local std::map<const Op*, Last> lasts;
  Last& last = lasts[&op];
  if (last.config == nullptr || text != last.text) {
    std::string error = op.configure(text, &last.config);
    if (!error.empty()) {
      last.config = nullptr;
      return error;
    }
    last.text = text;
  }
  call->config = last.config.get();
  return "";
}

std::string CheckResults(const Op& op, const Call& call, const std::vector<View>& given) {
  bool fit = given.size() == call.out.size();
  for (size_t k = 0; fit && k < given.size(); ++k)
    fit = given[k].type == call.out[k].type && given[k].shape == call.out[k].shape;
  if (fit) return "";
  std::string expected, got;
  for (size_t k = 0; k < call.out.size(); ++k)
    expected += (k ? ", " : "") + ResultName(op, k) + " " + Text(call.out[k]);
  for (size_t k = 0; k < given.size(); ++k) got += (k ? ", " : "") + Text(given[k]);
  return std::string(op.face) + ": results must be " + expected + ", got " + got + ".";
}

std::string ResultName(const Op& op, size_t result) {
  const size_t outputs = op.outputs.size();
  const std::string_view text =
      result < outputs ? op.outputs[result] : op.scratch[result - outputs];
  return std::string(text.substr(0, text.find(':')));
}

}  // namespace yolov1
