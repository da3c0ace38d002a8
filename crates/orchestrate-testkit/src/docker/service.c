#define _GNU_SOURCE
// A small service for containers. Its words say how it behaves:
//   (none)      answers every request with its version; SIGTERM ends it
//   sick        answers 503
//   crash       writes `address in use` and ends with status 3
//   stubborn    answers, and does not end by SIGTERM
//   work        answers nobody
//   say WORD    writes WORD, and the variable GREETING, and ends
//   fail N      ends with status N
//   sleep       sleeps for an hour
//   tell NAME   writes what it is given as the secret NAME, backwards, and ends; with it whose and how its file is
//   secret NAME the same, and answers
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char answer[512];

static void end(int signal) {
    (void)signal;
    _exit(0);
}

// Every request is small enough to be read at once, and has no body.
static void *serve(void *argument) {
    int client = (int)(long)argument, one = 1;
    char buffer[16384];
    size_t filled = 0;
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    for (;;) {
        ssize_t got = read(client, buffer + filled, sizeof buffer - 1 - filled);
        if (got <= 0) break;
        filled += (size_t)got;
        buffer[filled] = 0;
        char *close_after = strcasestr(buffer, "connection: close");
        if (!strstr(buffer, "\r\n\r\n")) continue;
        filled = 0;
        if (write(client, answer, strlen(answer)) < 0 || close_after) break;
    }
    close(client);
    return NULL;
}

static int listen_and_serve(int status, const char *version) {
    const char *port = getenv("PORT");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port ? port : "8080"))};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 512)) {
        perror("cannot listen");
        return 1;
    }
    snprintf(answer, sizeof answer, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n%s", status, strlen(version), version);
    printf("listening on %s\n", port ? port : "8080");
    fflush(stdout);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0) {
            if (errno == EINTR || errno == ECONNABORTED) continue;
            return 1;
        }
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, (void *)(long)client)) close(client);
        else pthread_detach(thread);
    }
}

static void tell(const char *name) {
    char path[256], text[256];
    struct stat about;
    snprintf(path, sizeof path, "/run/secrets/%s", name);
    FILE *file = fopen(path, "r");
    if (!file) {
        perror(path);
        return;
    }
    fstat(fileno(file), &about);
    size_t length = fread(text, 1, sizeof text, file);
    printf("uid %d owner %d mode %o: ", (int)getuid(), (int)about.st_uid, about.st_mode & 07777);
    while (length > 0) putchar(text[--length]);
    printf("\n");
    fflush(stdout);
    fclose(file);
}

int main(int count, char **words) {
    const char *manner = count > 1 ? words[1] : "";
    const char *version = getenv("ORCHESTRATE_VERSION");
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, strcmp(manner, "stubborn") ? end : SIG_IGN);
    if (!strcmp(manner, "crash")) {
        fprintf(stderr, "address in use\n");
        return 3;
    }
    if (!strcmp(manner, "say")) {
        const char *greeting = getenv("GREETING");
        printf("%s %s\n", count > 2 ? words[2] : "", greeting ? greeting : "");
        return 0;
    }
    if (count > 2 && (!strcmp(manner, "tell") || !strcmp(manner, "secret"))) tell(words[2]);
    if (!strcmp(manner, "tell")) return 0;
    if (!strcmp(manner, "fail")) return count > 2 ? atoi(words[2]) : 1;
    if (!strcmp(manner, "sleep")) return (int)sleep(3600);
    if (!strcmp(manner, "work")) {
        printf("working\n");
        fflush(stdout);
        for (;;) pause();
    }
    return listen_and_serve(strcmp(manner, "sick") ? 200 : 503, version ? version : "?");
}
