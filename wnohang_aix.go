package autorestart

const wnohang = 1 // sys/wait.h; the syscall package leaves it out
