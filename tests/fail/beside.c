/* SPDX-License-Identifier: Apache-2.0 */
#include "beside.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "peer.h"

#include "base.h"


#define SAYS "{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"42\"},\"finish_reason\":\"stop\"}]}"
#define SAYS_IN_EVENTS "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"42\"}}]}\n\ndata: [DONE]\n\n"

static void expert(struct peer_conn *conn)
{
        while (peer_take(conn)) {
                bool refuses = strstr(conn->peer->request, "\"model\":\"refuses\""), whole = strstr(conn->peer->request, "\"model\":\"whole\""),
                     stream = !whole && strstr(conn->peer->request, "\"stream\":true");
                const char *body = refuses ? "{\"detail\":\"too many apples\"}" : stream ? SAYS_IN_EVENTS : SAYS;
                char text[1024];

                (void)snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n%s",
                               refuses ? "400 Bad Request" : "200 OK", stream ? "text/event-stream" : "application/json", strlen(body), body);
                if (!peer_say(conn, text))
                        return;
        }
}

static _Noreturn void experts(int out)
{
        const struct peer *plain, *tls;
        char text[256];

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        plain = peer_start(PEER_TCP, expert);
        tls = peer_start(PEER_TLS, expert);
        assert(plain && tls);
        (void)!write(out, text, (size_t)snprintf(text, sizeof text, "%u %u %s", plain->port, tls->port, tls->path));
        (void)close(out);
        for (;;)
                (void)pause();
}

static pid_t children[2];
struct beside beside;

static void start_redis(const char *folder)
{
        char path[128];

        (void)snprintf(path, sizeof path, "%s/redis", folder);
        assert(setenv("PM_FAIL_REDIS", path, 1) == 0);
        children[1] = fork();
        if (children[1] == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                (void)!freopen("/dev/null", "w", stdout);
                (void)execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", (char *)NULL);
                _exit(127);
        }
        for (int i = 0; i < 2000 && access(path, F_OK) != 0; i++)
                (void)poll(NULL, 0, 5);
        assert(access(path, F_OK) == 0); /* deploy/deps.sh installs it */
}

void beside_start(const char *folder)
{
        char text[256];
        int ends[2];
        ssize_t n;

        assert(pipe2(ends, O_CLOEXEC) == 0);
        children[0] = fork();
        if (children[0] == 0)
                experts(ends[1]);
        (void)close(ends[1]);
        n = read(ends[0], text, sizeof text - 1);
        assert(n > 0);
        (void)close(ends[0]);
        text[n] = '\0';
        assert(sscanf(text, "%u %u %127s", &beside.plain, &beside.tls, beside.ca) == 3);
        start_redis(folder);
}

void beside_stop(void)
{
        for (size_t i = 0; i < LENGTH_OF(children); i++)
                if (children[i] > 0) {
                        (void)kill(children[i], SIGTERM);
                        (void)waitpid(children[i], NULL, 0);
                }
}
