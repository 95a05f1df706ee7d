/* A CUDA driver of a machine without a GPU, which notes who starts it: "process parent". */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int cuInit(unsigned flags) {
  FILE *log = fopen(getenv("DRIVER_LOG"), "a");
  (void)flags;
  if (log != NULL) {
    fprintf(log, "%d %d\n", (int)getpid(), (int)getppid());
    fclose(log);
  }
  return 100; /* CUDA_ERROR_NO_DEVICE */
}

int cuDriverGetVersion(int *version) {
  *version = 13000;
  return 0;
}

int cuGetErrorName(int error, const char **name) {
  (void)error;
  *name = "CUDA_ERROR_NO_DEVICE";
  return 0;
}

int cuGetErrorString(int error, const char **text) {
  (void)error;
  *text = "no CUDA-capable device is detected";
  return 0;
}
