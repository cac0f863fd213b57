"""Traditional characters -> simplified ones, for those that names and identity answers are made of.

Only characters with one simplified form; a table of common ones is enough to compare names.
"""

from __future__ import annotations

import unicodedata

_TRADITIONAL = (
    "來個們這為麼嗎誰說語訓練開發創實驗室團隊問間關於與無沒後時會國學東車長門馬鳥魚龍龜麗雲電網機器動態對應"
    "該當點號碼設計製構建築業務專責資訊識記憶認證訴請謝讓還過進遠運達違選適邏輯類項題顧頭領風飛騰驚體點"
    "歡樂藝術樹葉華萬聖靈愛夢數據庫區醫衛獨立產品質組織級給結經絡維綱線細終統繼續導尋將層師屬歸廣應廠"
    "聲聽職聯聰腦臨舊藍蘭蘇處觀見規視覺親計討許評詞試話詳誤調談論識護讀變貓貝負財貨購費貢賽軟輕輪載輔"
    "轉農連週遊鄉釋銀鋼錄鍵鏡鐵閃陽陰階際隨險雙雜難霧靜韻頁順預頻願飯館騎魯鮮鴻鷹麥黃齊齒兒兩冊幾劃劍"
    "剛則劉勞勝勵單嚴園圓圖執報場塊壓壞夠夥奪奮婦孫寧寫寬寶屆島幣帶幫彈強彙彥徑從復徵憑懷戰戶擇擊擔據攝"
    "曉曆條極標樣橋權歲歷殘氣漢漸濟濤濱瀏災熱燈爾牆獎獲現環瑪畫異發監盤眾確禮種積稱窮競筆節範簡糧紀約紅"
    "純紙絕練罷義習聞肅脫膽艦節著蓋薩號蟲術衝裝裡複誌誠誕諾諮譯豐貴賓贊趙趕跡踐蹤軌迴邊鄭醜釣鈴鋒錦鎮"
    "鑽閱闆陳陸須飾駕驅魂鵬鶴黨龐"
)
_SIMPLIFIED = (
    "来个们这为么吗谁说语训练开发创实验室团队问间关于与无没后时会国学东车长门马鸟鱼龙龟丽云电网机器动态对应"
    "该当点号码设计制构建筑业务专责资讯识记忆认证诉请谢让还过进远运达违选适逻辑类项题顾头领风飞腾惊体点"
    "欢乐艺术树叶华万圣灵爱梦数据库区医卫独立产品质组织级给结经络维纲线细终统继续导寻将层师属归广应厂"
    "声听职联聪脑临旧蓝兰苏处观见规视觉亲计讨许评词试话详误调谈论识护读变猫贝负财货购费贡赛软轻轮载辅"
    "转农连周游乡释银钢录键镜铁闪阳阴阶际随险双杂难雾静韵页顺预频愿饭馆骑鲁鲜鸿鹰麦黄齐齿儿两册几划剑"
    "刚则刘劳胜励单严园圆图执报场块压坏够伙夺奋妇孙宁写宽宝届岛币带帮弹强汇彦径从复征凭怀战户择击担据摄"
    "晓历条极标样桥权岁历残气汉渐济涛滨浏灾热灯尔墙奖获现环玛画异发监盘众确礼种积称穷竞笔节范简粮纪约红"
    "纯纸绝练罢义习闻肃脱胆舰节着盖萨号虫术冲装里复志诚诞诺咨译丰贵宾赞赵赶迹践踪轨回边郑丑钓铃锋锦镇"
    "钻阅板陈陆须饰驾驱魂鹏鹤党庞"
)
_TABLE = str.maketrans(_TRADITIONAL, _SIMPLIFIED)


def folded(text: str) -> str:
    """The text as it is compared: one form of width, of quotes and of Chinese characters."""
    text = unicodedata.normalize("NFKC", text).replace("’", "'").replace("‘", "'")
    return text.translate(_TABLE)
