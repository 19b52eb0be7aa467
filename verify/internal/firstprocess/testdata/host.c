// Loads the library, and exits with 0 if that does not take this for its own executable.
#include <dlfcn.h>

int main(int argc, char **argv) {
	void *library = dlopen(argv[1], RTLD_NOW);
	if (!library)
		return 2;
	long (*own)(void) = (long (*)(void))dlsym(library, "Own");
	return own ? own() != 0 : 3;
}
