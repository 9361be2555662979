# The warning set of this project, applied PRIVATE to each of our targets: never to a user's build.
function(wheeltapper_warnings target)
  set(flags -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wold-style-cast
      -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-align -Wnull-dereference -Wdouble-promotion
      -Wformat=2 -Wimplicit-fallthrough -Wunused -Wundef -Wextra-semi -Wmissing-declarations)
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    list(APPEND flags -Wthread-safety -Wshorten-64-to-32 -Wunreachable-code -Wmissing-prototypes)
  else()
    list(APPEND flags -Wduplicated-cond -Wduplicated-branches -Wlogical-op -Wuseless-cast)
    # g++ 12 reports impossible overlaps for std::string concatenation (GCC bug 105651).
    list(APPEND flags -Wno-restrict)
  endif()
  if(WT_WERROR)
    list(APPEND flags -Werror)
  endif()
  target_compile_options(${target} PRIVATE ${flags})
endfunction()
