#include "arrow.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "array.h"
#include "arrow_abi.h"

namespace wheeltapper::python {
namespace {

namespace nb = nanobind;
using TablePtr = std::shared_ptr<const format::Table>;

constexpr int64_t kNullable = 2;  // ARROW_FLAG_NULLABLE
constexpr const char* kTimestampFormat = "tsu:UTC";
constexpr const char* kStreamCapsule = "arrow_array_stream";

// What an exported ArrowSchema owns.
struct SchemaOwner {
  std::string format;
  std::string name;
  std::vector<ArrowSchema> children;
  std::vector<ArrowSchema*> child_pointers;
  ArrowSchema dictionary{};
};

// What an exported ArrowArray owns; the table's own vectors are the buffers where layouts agree.
struct ArrayOwner {
  TablePtr table;
  std::vector<const void*> buffers;
  std::vector<ArrowArray> children;
  std::vector<ArrowArray*> child_pointers;
  ArrowArray dictionary{};
  std::vector<uint8_t> validity;
  std::vector<int32_t> offsets;
  std::string text;
};

void ReleaseSchema(ArrowSchema* schema) {
  auto* owner = static_cast<SchemaOwner*>(schema->private_data);
  for (ArrowSchema& child : owner->children) {
    if (child.release != nullptr) {
      child.release(&child);
    }
  }
  if (owner->dictionary.release != nullptr) {
    owner->dictionary.release(&owner->dictionary);
  }
  schema->release = nullptr;
  const std::unique_ptr<SchemaOwner> gone(owner);
}

void ReleaseArray(ArrowArray* array) {
  auto* owner = static_cast<ArrayOwner*>(array->private_data);
  for (ArrowArray& child : owner->children) {
    if (child.release != nullptr) {
      child.release(&child);
    }
  }
  if (owner->dictionary.release != nullptr) {
    owner->dictionary.release(&owner->dictionary);
  }
  array->release = nullptr;
  const std::unique_ptr<ArrayOwner> gone(owner);
}

void FinishSchema(std::unique_ptr<SchemaOwner> owner, int64_t flags, ArrowSchema* out) {
  for (ArrowSchema& child : owner->children) {
    owner->child_pointers.push_back(&child);
  }
  *out = {};
  out->format = owner->format.c_str();
  out->name = owner->name.c_str();
  out->flags = flags;
  out->n_children = static_cast<int64_t>(owner->children.size());
  out->children = owner->child_pointers.data();
  out->dictionary = owner->dictionary.release != nullptr ? &owner->dictionary : nullptr;
  out->release = &ReleaseSchema;
  out->private_data = owner.release();
}

void LeafSchema(const std::string& name, const char* format, int64_t flags, ArrowSchema* out) {
  auto owner = std::make_unique<SchemaOwner>();
  owner->format = format;
  owner->name = name;
  FinishSchema(std::move(owner), flags, out);
}

struct ColumnSchema {
  const std::string& name;
  ArrowSchema* out;

  void operator()(const format::StringColumn& /*column*/) const {
    auto owner = std::make_unique<SchemaOwner>();
    owner->format = "I";
    owner->name = name;
    LeafSchema("", "u", 0, &owner->dictionary);
    FinishSchema(std::move(owner), 0, out);
  }
  void operator()(const format::Int32Column& /*column*/) const { LeafSchema(name, "i", 0, out); }
  void operator()(const format::Int64Column& /*column*/) const { LeafSchema(name, "l", 0, out); }
  void operator()(const format::TimestampColumn& /*column*/) const {
    LeafSchema(name, kTimestampFormat, 0, out);
  }
  void operator()(const format::DoubleColumn& column) const {
    LeafSchema(name, "g", column.present.empty() ? 0 : kNullable, out);
  }
  void operator()(const format::Int64ListColumn& /*column*/) const {
    auto owner = std::make_unique<SchemaOwner>();
    owner->format = "+L";
    owner->name = name;
    owner->children.resize(1);
    LeafSchema("item", "l", 0, owner->children.data());
    FinishSchema(std::move(owner), 0, out);
  }
};

void FinishArray(std::unique_ptr<ArrayOwner> owner, int64_t length, int64_t nulls,
                 ArrowArray* out) {
  for (ArrowArray& child : owner->children) {
    owner->child_pointers.push_back(&child);
  }
  *out = {};
  out->length = length;
  out->null_count = nulls;
  out->n_buffers = static_cast<int64_t>(owner->buffers.size());
  out->buffers = owner->buffers.data();
  out->n_children = static_cast<int64_t>(owner->children.size());
  out->children = owner->child_pointers.data();
  out->dictionary = owner->dictionary.release != nullptr ? &owner->dictionary : nullptr;
  out->release = &ReleaseArray;
  out->private_data = owner.release();
}

// Fixed-width values without nulls: the vector itself is the buffer.
template <typename T>
void LeafArray(const TablePtr& table, const std::vector<T>& values, ArrowArray* out) {
  auto owner = std::make_unique<ArrayOwner>();
  owner->table = table;
  owner->buffers = {nullptr, values.data()};
  FinishArray(std::move(owner), static_cast<int64_t>(values.size()), 0, out);
}

void DictionaryArray(const std::vector<std::string>& words, ArrowArray* out) {
  auto owner = std::make_unique<ArrayOwner>();
  owner->offsets.push_back(0);
  for (const std::string& word : words) {
    owner->text += word;
    owner->offsets.push_back(static_cast<int32_t>(owner->text.size()));
  }
  owner->buffers = {nullptr, owner->offsets.data(), owner->text.data()};
  FinishArray(std::move(owner), static_cast<int64_t>(words.size()), 0, out);
}

struct ColumnArray {
  const TablePtr& table;
  ArrowArray* out;

  void operator()(const format::StringColumn& column) const {
    auto owner = std::make_unique<ArrayOwner>();
    owner->table = table;
    owner->buffers = {nullptr, column.codes.data()};
    DictionaryArray(column.dictionary, &owner->dictionary);
    FinishArray(std::move(owner), static_cast<int64_t>(column.codes.size()), 0, out);
  }
  void operator()(const format::Int32Column& column) const { LeafArray(table, column.values, out); }
  void operator()(const format::Int64Column& column) const { LeafArray(table, column.values, out); }
  void operator()(const format::TimestampColumn& column) const {
    LeafArray(table, column.values, out);
  }
  void operator()(const format::DoubleColumn& column) const {
    if (column.present.empty()) {
      LeafArray(table, column.values, out);
      return;
    }
    auto owner = std::make_unique<ArrayOwner>();
    owner->table = table;
    owner->validity.resize((column.present.size() + 7) / 8);
    int64_t nulls = 0;
    for (size_t i = 0; i < column.present.size(); ++i) {
      if (column.present[i] != 0) {
        owner->validity[i / 8] = static_cast<uint8_t>(owner->validity[i / 8] | (1U << (i % 8)));
      } else {
        ++nulls;
      }
    }
    owner->buffers = {owner->validity.data(), column.values.data()};
    FinishArray(std::move(owner), static_cast<int64_t>(column.values.size()), nulls, out);
  }
  void operator()(const format::Int64ListColumn& column) const {
    auto owner = std::make_unique<ArrayOwner>();
    owner->table = table;
    owner->buffers = {nullptr, column.offsets.data()};
    owner->children.resize(1);
    LeafArray(table, column.values, owner->children.data());
    const int64_t rows =
        column.offsets.empty() ? 0 : static_cast<int64_t>(column.offsets.size()) - 1;
    FinishArray(std::move(owner), rows, 0, out);
  }
};

void ExportSchema(const format::Table& table, ArrowSchema* out) {
  auto owner = std::make_unique<SchemaOwner>();
  owner->format = "+s";
  owner->children.resize(table.columns.size());
  for (size_t i = 0; i < table.columns.size(); ++i) {
    std::visit(ColumnSchema{table.columns[i].name, &owner->children[i]}, table.columns[i].data);
  }
  FinishSchema(std::move(owner), 0, out);
}

void ExportArray(const TablePtr& table, ArrowArray* out) {
  auto owner = std::make_unique<ArrayOwner>();
  owner->table = table;
  owner->buffers = {nullptr};
  owner->children.resize(table->columns.size());
  for (size_t i = 0; i < table->columns.size(); ++i) {
    std::visit(ColumnArray{table, &owner->children[i]}, table->columns[i].data);
  }
  FinishArray(std::move(owner), table->rows(), 0, out);
}

// A stream of one batch.
struct StreamOwner {
  TablePtr table;
  bool delivered = false;
};

int StreamSchema(ArrowArrayStream* stream, ArrowSchema* out) {
  ExportSchema(*static_cast<StreamOwner*>(stream->private_data)->table, out);
  return 0;
}

int StreamNext(ArrowArrayStream* stream, ArrowArray* out) {
  auto* owner = static_cast<StreamOwner*>(stream->private_data);
  if (std::exchange(owner->delivered, true)) {
    *out = {};  // end of the stream
  } else {
    ExportArray(owner->table, out);
  }
  return 0;
}

const char* StreamError(ArrowArrayStream* /*stream*/) { return nullptr; }

void ReleaseStream(ArrowArrayStream* stream) {
  stream->release = nullptr;
  const std::unique_ptr<StreamOwner> gone(static_cast<StreamOwner*>(stream->private_data));
}

void FreeCapsule(PyObject* capsule) {
  const std::unique_ptr<ArrowArrayStream> stream(
      static_cast<ArrowArrayStream*>(PyCapsule_GetPointer(capsule, kStreamCapsule)));
  if (stream != nullptr && stream->release != nullptr) {
    stream->release(stream.get());
  }
}

nb::object ExportStream(const NativeTable& self, const nb::object& /*requested_schema*/) {
  auto stream = std::make_unique<ArrowArrayStream>();
  auto owner = std::make_unique<StreamOwner>();
  owner->table = self.table;
  *stream = {.get_schema = &StreamSchema,
             .get_next = &StreamNext,
             .get_last_error = &StreamError,
             .release = &ReleaseStream,
             .private_data = owner.release()};
  ArrowArrayStream* const for_capsule = stream.release();
  PyObject* capsule = PyCapsule_New(for_capsule, kStreamCapsule, &FreeCapsule);
  if (capsule == nullptr) {
    stream.reset(for_capsule);
    stream->release(stream.get());
    throw nb::python_error();
  }
  return nb::steal(capsule);
}

// A column as Python reads it without any package: an array, or a list for text and lists.
struct ColumnToPython {
  template <typename T>
  nb::object Array(const std::vector<T>& values, tensor::DType dtype) const {
    return nb::cast(OwnedArray(values, dtype));
  }
  nb::object operator()(const format::StringColumn& column) const {
    nb::list out;
    for (const uint32_t code : column.codes) {
      out.append(column.dictionary.at(code));
    }
    return out;
  }
  nb::object operator()(const format::Int32Column& column) const {
    return Array(column.values, tensor::DType::kI32);
  }
  nb::object operator()(const format::Int64Column& column) const {
    return Array(column.values, tensor::DType::kI64);
  }
  nb::object operator()(const format::TimestampColumn& column) const {
    return Array(column.values, tensor::DType::kI64);
  }
  nb::object operator()(const format::DoubleColumn& column) const {
    return Array(column.values, tensor::DType::kF64);
  }
  nb::object operator()(const format::Int64ListColumn& column) const {
    nb::list out;
    for (size_t i = 0; i + 1 < column.offsets.size(); ++i) {
      nb::list row;
      for (int64_t at = column.offsets[i]; at < column.offsets[i + 1]; ++at) {
        row.append(column.values.at(static_cast<size_t>(at)));
      }
      out.append(row);
    }
    return out;
  }
};

}  // namespace

void BindTable(nb::module_& m) {
  nb::class_<NativeTable>(m, "Table", "Columns of a run, readable by any Arrow library.")
      .def("__arrow_c_stream__", &ExportStream, nb::arg("requested_schema").none() = nb::none(),
           "The Arrow C stream as a capsule.")
      .def("__len__", [](const NativeTable& self) { return self.table->rows(); })
      .def_prop_ro(
          "column_names",
          [](const NativeTable& self) {
            std::vector<std::string> names;
            for (const format::Column& column : self.table->columns) {
              names.push_back(column.name);
            }
            return names;
          },
          "Names of the columns, in order.")
      .def(
          "column",
          [](const NativeTable& self, const std::string& name) {
            const format::Column* column = self.table->Find(name);
            if (column == nullptr) {
              throw nb::key_error(name.c_str());
            }
            return std::visit(ColumnToPython{}, column->data);
          },
          nb::arg("name"), "One column: a NativeArray, or a list for text and lists.");
}

}  // namespace wheeltapper::python
