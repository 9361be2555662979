# WT_SYNTAX_ONLY: the compiler reads each source and says what is wrong with it, and generates nothing. What Ninja waits
# for are empty files, so only what changed is read again. Nothing can be linked; build wheeltapper_libraries and
# all_verify_interface_header_sets.
if(WT_SYNTAX_ONLY)
  set(CMAKE_CXX_COMPILE_OBJECT
    "<CMAKE_CXX_COMPILER> <DEFINES> <INCLUDES> <FLAGS> -fsyntax-only <SOURCE>" "<CMAKE_COMMAND> -E touch <OBJECT>")
  set(CMAKE_CXX_CREATE_STATIC_LIBRARY "<CMAKE_COMMAND> -E touch <TARGET>")
endif()
