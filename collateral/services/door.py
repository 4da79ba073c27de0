"""A small plugin of the broker that tells of publications and subscriptions under another device's id.

Mosquitto refuses them by its access list, but says so at debug level only, which writes two lines for every message and
nearly doubles the broker's work. This plugin decides nothing: it writes a line when the fourth level of a topic, which
names the device in `cw/v1/SITE/DEVICE/...` and `spBv1.0/GROUP/TYPE/NODE/...` (behind `$share/GROUP/` too), is not the
account's own name, and leaves the decision to the access list. At most `MOST_LINES` a second are written; the next line
tells how many were not.

Built on the spot by the machine's C compiler against version 5 of the broker's plugin interface (mosquitto_plugin.h and
mosquitto_broker.h of 2.0); where there is no compiler, `security watch` turns the broker's debug log on instead.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from collateral.errors import ServiceError
from collateral.services.system import Account, make_folder, plain_environment, run_as, say, write_private

COMPILERS = ("cc", "gcc", "clang")
BUILD_SECONDS = 60.0
MOST_LINES = 20
"""A second; an intruder must not fill the disk."""

SOURCE = r"""
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

/* From mosquitto.h, mosquitto_broker.h and mosquitto_plugin.h, plugin interface 5. */
struct mosquitto;
struct mosquitto_opt { char *key; char *value; };
typedef void mosquitto_plugin_id_t;
struct event_acl_check {
    void *future;
    struct mosquitto *client;
    const char *topic;
    const void *payload;
    void *properties;
    int access;
    uint32_t payloadlen;
    uint8_t qos;
    bool retain;
    void *future2[4];
};
typedef int (*callback)(int event, void *data, void *userdata);
int mosquitto_callback_register(mosquitto_plugin_id_t *id, int event, callback call, const void *data, void *userdata);
int mosquitto_callback_unregister(mosquitto_plugin_id_t *id, int event, callback call, const void *data);
const char *mosquitto_client_username(const struct mosquitto *client);
const char *mosquitto_client_id(const struct mosquitto *client);
void mosquitto_log_printf(int level, const char *format, ...);

enum { SUCCESS = 0, DEFER = 17, ACL_CHECK = 2, ACL_WRITE = 2, ACL_SUBSCRIBE = 4, NOTICE = 2, MOST_TEXT = 200 };

static char services[256];
static mosquitto_plugin_id_t *self;
static time_t second;
static unsigned lines, untold;

/* Is `name` one of the names in the comma-separated list? */
static bool among(const char *list, const char *name)
{
    size_t length = strlen(name);
    while (*list) {
        size_t item = strcspn(list, ",");
        if (item == length && memcmp(list, name, length) == 0) return true;
        list += item + (list[item] == ',');
    }
    return false;
}

/* Does the topic's fourth level equal `name`? */
static bool own(const char *topic, const char *name)
{
    for (int level = 0; level < 3; level++) {
        topic = strchr(topic, '/');
        if (!topic) return false;
        topic++;
    }
    size_t length = strlen(name);
    return strcspn(topic, "/") == length && memcmp(topic, name, length) == 0;
}

/* What is asked for behind `$share/GROUP/`, by which several clients take messages in turn. */
static const char *behind_share(const char *topic)
{
    if (strncmp(topic, "$share/", 7) != 0) return topic;
    const char *rest = strchr(topic + 7, '/');
    return rest ? rest + 1 : topic;
}

static int length_of(const char *text)
{
    size_t length = strnlen(text, MOST_TEXT);
    if (length == MOST_TEXT) while (length > 0 && (text[length] & 0xC0) == 0x80) length--;  /* whole UTF-8 characters */
    return (int)length;
}

static int look(int event, void *data, void *userdata)
{
    struct event_acl_check *about = data;
    (void)event; (void)userdata;
    if ((about->access != ACL_WRITE && about->access != ACL_SUBSCRIBE) || !about->topic || !about->client) return DEFER;
    const char *name = mosquitto_client_username(about->client), *client = mosquitto_client_id(about->client);
    const char *topic = about->access == ACL_SUBSCRIBE ? behind_share(about->topic) : about->topic;
    if (!name || !client || among(services, name) || own(topic, name)) return DEFER;
    time_t now = time(NULL);
    if (now != second) { second = now; lines = 0; }
    if (lines >= MOST_LINES) { untold++; return DEFER; }
    lines++;
    int of_client = length_of(client), of_topic = length_of(about->topic);
    mosquitto_log_printf(NOTICE, "Foreign %s by %s untold %u client %d:%.*s topic %d:%.*s",
        about->access == ACL_WRITE ? "publish" : "subscribe", name, untold, of_client, of_client, client,
        of_topic, of_topic, about->topic);
    untold = 0;
    return DEFER;
}

int mosquitto_plugin_version(int count, const int *versions)
{
    for (int i = 0; i < count; i++) if (versions[i] == 5) return 5;
    return -1;
}

int mosquitto_plugin_init(mosquitto_plugin_id_t *id, void **userdata, struct mosquitto_opt *options, int count)
{
    (void)userdata;
    for (int i = 0; i < count; i++)
        if (strcmp(options[i].key, "services") == 0 && strlen(options[i].value) < sizeof services)
            strcpy(services, options[i].value);
    self = id;
    return mosquitto_callback_register(id, ACL_CHECK, look, NULL, NULL);
}

int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *options, int count)
{
    (void)userdata; (void)options; (void)count;
    mosquitto_callback_unregister(self, ACL_CHECK, look, NULL);
    return SUCCESS;
}
""".replace("enum { SUCCESS", f"enum {{ MOST_LINES = {MOST_LINES}, SUCCESS", 1)


def build(folder: Path, account: Account) -> Path | None:
    """The plugin in `folder`, made where it is not there yet; None, with the reason said, where it cannot be made."""
    wanted = folder / f"door-{hashlib.sha256(SOURCE.encode()).hexdigest()[:12]}.so"
    if wanted.is_file():
        return wanted
    compiler = next((found for name in COMPILERS if (found := shutil.which(name, path=plain_environment()["PATH"]))), None)
    if compiler is None:
        say("no C compiler: attempts under another device's id are recorded only while `collateral security watch` runs")
        return None
    make_folder(folder, account, 0o700)
    source, unfinished = folder / "door.c", wanted.with_suffix(".so.part")
    write_private(source, SOURCE, account)
    command = [compiler, "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    try:
        done = run_as(account, [*command, "-o", unfinished, source], timeout=BUILD_SECONDS)
    except ServiceError as error:  # the broker does without
        say(f"{compiler} cannot build the broker's plugin: {error}")
        return None
    if done.returncode != 0:
        say(f"{compiler} cannot build the broker's plugin: {done.stdout.strip()[-300:]}")
        return None
    unfinished.replace(wanted)
    return wanted
